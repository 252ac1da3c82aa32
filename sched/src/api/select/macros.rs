//! The macro: arms in, one call of the engine, and the chosen arm's body out.
//!
//! ```text
//!   recv(a) -> x => body1,            match &a { from => { let mut arm = from.as_receiver…;
//!   send(b, v) -> y => body2,   ─▶      match &b { to => match v { value => { let mut arm = to.as_sender…(value);
//!   default => body3                      if try_run(&mut [arm, arm]) {
//!                                           if arm.is_chosen() { let x = arm.finish(); drop(both); body1 } else { … body2 }
//!                                         } else { drop(both); body3 } } } } } }
//!                                     (another `arm` each: each step of the macro has its own names)
//! ```
//!
//! Bodies stand in the function itself and not in closures, so `return`, `break`, `continue` and
//! `?` do what they say.

/// Waits until one of several channel operations can be done, does it, and runs the code of that
/// arm: Go's `select`.
///
/// * `recv(receiver) -> result => code`: `result` is a `Result<T, RecvError>`.
/// * `send(sender, value) -> result => code`: `result` is a `Result<(), SendError<T>>`.
/// * `default => code`: runs if no other arm can be done at once.
/// * `default(duration) => code`: runs if no other arm can be done before `duration` is over.
///
/// An operation on a closed channel can be done: its result is the error. If several can be done,
/// one is taken at random, each with the same chance. Arms may name the same channel several times,
/// also both of its ends; a select does not meet itself. Without any arm it waits for ever; a
/// deadlock report says `select (no cases)`.
///
/// A receiver or sender may also be an `Option` of one, or of a reference to one. `None` switches
/// the arm off: it is never chosen, as with Go's nil channel. A select whose arms are all off waits
/// for ever, unless it has a `default`.
///
/// Channels and values are evaluated once, in the order in which they are written, as in Go; the
/// values of arms that are not chosen are dropped. That holds for arms that are off, too.
///
/// After code in braces the comma may be left out.
/// More than about thirty arms need a higher `recursion_limit`, or a
/// [`Select`](crate::select::Select).
///
/// Parks the G unless an arm can be done at once or there is a `default`.
///
/// # Panics
/// As [`Sender::send`](crate::chan::Sender::send) for the value of each arm that sends, chosen or
/// not; and when there is no memory to wait.
///
/// # Examples
///
/// ```
/// # use trefoil_hosted::prelude::*;
/// # trefoil_hosted::example(|| {
/// use trefoil_sched::select;
///
/// let (numbers, rx) = chan::bounded(0);
/// let (quit, stop) = chan::bounded::<()>(0);
/// let readers = rx.clone(); // `rx` stays here: with the last receiver gone, a send could be done, too, and would fail
/// drop(go(move || {
///     for _ in 0..3 {
///         readers.recv().unwrap();
///     }
///     drop(quit);
/// }));
/// let (mut a, mut b) = (0, 1);
/// loop {
///     select! {
///         send(numbers, a) -> sent => {
///             sent.unwrap();
///             (a, b) = (b, a + b);
///         }
///         recv(stop) -> _ => break,
///     }
/// }
/// assert_eq!(a, 2);
///
/// let late = select! {
///     recv(chan::never::<u8>()) -> _ => false,
///     default(Duration::from_millis(1)) => true,
/// };
/// assert!(late);
/// # });
/// ```
///
/// Two channels are read to their ends: a closed one is switched off, where it would be ready
/// again and again.
///
/// ```
/// # use trefoil_hosted::prelude::*;
/// # trefoil_hosted::example(|| {
/// let ((ta, a), (tb, b)) = (chan::bounded(1), chan::bounded(1));
/// ta.send(1).unwrap();
/// tb.send(2).unwrap();
/// drop((ta, tb));
/// let (mut a, mut b, mut sum) = (Some(a), Some(b), 0);
/// while a.is_some() || b.is_some() {
///     select! {
///         recv(a) -> value => value.map_or_else(|_| a = None, |n| sum += n),
///         recv(b) -> value => value.map_or_else(|_| b = None, |n| sum += n),
///     }
/// }
/// assert_eq!(sum, 3);
/// # });
/// ```
#[macro_export]
macro_rules! select {
    ($($arms:tt)*) => { $crate::__select!(@arms Fair [] []; $($arms)*) };
}

/// Selects as [`select!`](crate::select!), but of several arms that can be done the first one is
/// taken.
///
/// # Examples
///
/// ```
/// # use trefoil_hosted::prelude::*;
/// # trefoil_hosted::example(|| {
/// let (tx, rx) = chan::bounded(1);
/// tx.send(1).unwrap();
/// let first = trefoil_sched::select_biased! {
///     recv(rx) -> value => value.unwrap(),
///     recv(chan::after(Duration::ZERO)) -> _ => 2,
/// };
/// assert_eq!(first, 1);
/// # });
/// ```
#[macro_export]
macro_rules! select_biased {
    ($($arms:tt)*) => { $crate::__select!(@arms Biased [] []; $($arms)*) };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __select {
    // The arms, one after the other: the operation that each waits for, then its code.
    (@arms $order:tt $cases:tt $default:tt;) => { $crate::__select!(@eval $order $cases $default []) };
    (@arms $order:tt $cases:tt $default:tt; recv($r:expr $(,)?) -> $p:pat => $($rest:tt)+) => {
        $crate::__select!(@code $order $cases $default (recv $r, $p); $($rest)+)
    };
    (@arms $order:tt $cases:tt $default:tt; recv($r:expr $(,)?) => $($rest:tt)+) => {
        $crate::__select!(@code $order $cases $default (recv $r, _); $($rest)+)
    };
    (@arms $order:tt $cases:tt $default:tt; send($s:expr, $v:expr $(,)?) -> $p:pat => $($rest:tt)+) => {
        $crate::__select!(@code $order $cases $default (send $s, $v, $p); $($rest)+)
    };
    (@arms $order:tt $cases:tt $default:tt; send($s:expr, $v:expr $(,)?) => $($rest:tt)+) => {
        $crate::__select!(@code $order $cases $default (send $s, $v, _); $($rest)+)
    };
    (@arms $order:tt $cases:tt []; default $(())? => $($rest:tt)+) => {
        $crate::__select!(@code $order $cases [] (default); $($rest)+)
    };
    (@arms $order:tt $cases:tt []; default($t:expr $(,)?) => $($rest:tt)+) => {
        $crate::__select!(@code $order $cases [] (default $t); $($rest)+)
    };
    (@arms $order:tt $cases:tt [$($d:tt)+]; default $($rest:tt)*) => {
        ::core::compile_error!("select!: more than one `default`")
    };
    (@arms $order:tt $cases:tt $default:tt; $($rest:tt)+) => {
        ::core::compile_error!(::core::concat!(
            "select!: expected `recv(receiver) -> pattern => code`, `send(sender, value) -> pattern => code`, `default => code` or ",
            "`default(duration) => code`, got `", ::core::stringify!($($rest)+), "`"
        ))
    };

    (@code $order:tt $cases:tt $default:tt $head:tt; $code:block, $($rest:tt)*) => {
        $crate::__select!(@add $order $cases $default $head $code; $($rest)*)
    };
    (@code $order:tt $cases:tt $default:tt $head:tt; $code:block $($rest:tt)*) => {
        $crate::__select!(@add $order $cases $default $head $code; $($rest)*)
    };
    (@code $order:tt $cases:tt $default:tt $head:tt; $code:expr, $($rest:tt)*) => {
        $crate::__select!(@add $order $cases $default $head $code; $($rest)*)
    };
    (@code $order:tt $cases:tt $default:tt $head:tt; $code:expr) => {
        $crate::__select!(@add $order $cases $default $head $code;)
    };

    (@add $order:tt $cases:tt [] (default $($t:tt)?) $code:tt; $($rest:tt)*) => {
        $crate::__select!(@arms $order $cases [$code $($t)?]; $($rest)*)
    };
    (@add $order:tt [$($cases:tt)*] $default:tt $head:tt $code:tt; $($rest:tt)*) => {
        $crate::__select!(@arms $order [$($cases)* { $head $code }] $default; $($rest)*)
    };

    // The operands of the operations, evaluated in the order in which they are written.
    (@eval $order:tt [{ (recv $r:tt, $p:tt) $code:tt } $($more:tt)*] $default:tt [$($done:tt)*]) => {
        match &$r {
            from => {
                // Not moved: a large one has a large place.
                let mut arm = {
                    use $crate::chan::RecvSide as _;
                    from.as_receiver_or_option()
                };
                $crate::__select!(@eval $order [$($more)*] $default [$($done)* { arm $p, $code }])
            }
        }
    };
    (@eval $order:tt [{ (send $s:tt, $v:tt, $p:tt) $code:tt } $($more:tt)*] $default:tt [$($done:tt)*]) => {
        match &$s {
            to => match $v {
                value => {
                    let mut arm = {
                        use $crate::chan::SendSide as _;
                        to.as_sender_or_option(value)
                    };
                    $crate::__select!(@eval $order [$($more)*] $default [$($done)* { arm $p, $code }])
                }
            },
        }
    };

    // The call.
    (@eval $order:tt [] [] []) => { $crate::select::wait_for_ever() };
    (@eval $order:tt [] [$code:tt] []) => { $code };
    (@eval $order:tt [] [$code:tt $t:tt] []) => {{
        $crate::select::run_timeout(&mut [], $t, $crate::select::Order::$order);
        $code
    }};
    (@eval $order:tt [] [] [$({ $arm:ident $p:tt, $code:tt })+]) => {{
        $crate::select::run($crate::__select!(@on $($arm)+), $crate::select::Order::$order);
        $crate::__select!(@pick [$($arm)+] $({ $arm $p, $code })+)
    }};
    (@eval $order:tt [] [$default:tt] [$({ $arm:ident $p:tt, $code:tt })+]) => {
        if $crate::select::try_run($crate::__select!(@on $($arm)+), $crate::select::Order::$order) {
            $crate::__select!(@pick [$($arm)+] $({ $arm $p, $code })+)
        } else {
            $($arm.leave();)+
            $default
        }
    };
    (@eval $order:tt [] [$default:tt $t:tt] [$({ $arm:ident $p:tt, $code:tt })+]) => {
        if $crate::select::run_timeout($crate::__select!(@on $($arm)+), $t, $crate::select::Order::$order) {
            $crate::__select!(@pick [$($arm)+] $({ $arm $p, $code })+)
        } else {
            $($arm.leave();)+
            $default
        }
    };

    // The arms that take part.
    (@on $($arm:ident)+) => {
        $crate::select::partaking(false $(|| $arm.is_off())+, &mut [$($arm.arm()),+])
    };

    // The chosen one: no arm is left when its code runs.
    (@pick [$($all:ident)+] { $arm:ident $p:tt, $code:tt }) => {{
        let result = $arm.finish();
        $($all.leave();)+
        let $p = result;
        $code
    }};
    (@pick [$($all:ident)+] { $arm:ident $p:tt, $code:tt } $($more:tt)+) => {
        if $arm.is_chosen() {
            $crate::__select!(@pick [$($all)+] { $arm $p, $code })
        } else {
            $crate::__select!(@pick [$($all)+] $($more)+)
        }
    };
}
