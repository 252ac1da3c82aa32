//! An event in words: its subject, its verb, its object.

use trefoil_trace::{Kind, Place, Record};

use super::super::Recording;
use super::super::events::Event;
use super::{count, cut, time, title};

/// Columns of a name or a text in the words.
const NAME: usize = 30;

/// Returns the words for an event. They name goroutines, M's and P's by their numbers.
///
/// ```
/// use cargo_trefoil::trace::{sample::Sample, text::decision::words, Recording, Trace};
///
/// let run = Recording::new(Trace::parse(&Sample::default().file()).unwrap());
/// let created = run.events.iter().find(|event| event.text.as_deref() == Some("main")).unwrap();
/// assert_eq!(words(&run, created), "G1 main is created, and put into the slot");
/// ```
pub fn words(run: &Recording, event: &Event) -> String {
    let Record { a, b, n, how, p, .. } = event.record;
    let Some(kind) = event.kind() else { return format!("a record of kind {}, which is not known", event.record.kind) };
    let g = || title(&run.title(a), NAME);
    let to = |verb: &str| match event.place() {
        Place::Nowhere => String::new(),
        place => format!("{verb} {}", put(place)),
    };
    let text = cut(event.text.as_deref().unwrap_or(""), NAME);
    let at = |ns: u64| {
        let later = ns.saturating_sub(event.ns);
        if ns == u64::MAX { "no time".into() } else { format!("{} from now", time(later)) }
    };
    match kind {
        Kind::Create => format!("{} is created{}", g(), to(", and put")),
        Kind::Switch => switch(run, event),
        Kind::Ready => {
            let by = ["", " by a timer", " by an interrupt", " at the end of a look at its stack"];
            format!("{} is readied{}{}", g(), by.get(usize::from(how)).unwrap_or(&" by g0"), to(", and put"))
        }
        Kind::Put => format!("{} is put{}", g(), to("")),
        Kind::Overflow => format!("the ring of P {p} is full: its {n} oldest and {} go to the global queue", g()),
        Kind::Steal => format!("{} stolen from P {b}, the last of them {}", goroutines(n), g()),
        Kind::Share => format!("{} taken from the global queue, the first of them {}", goroutines(n), g()),
        Kind::Block => format!("{} begins to block in place, and the M gives P {p} away", g()),
        Kind::BlockEnd => format!("{} ends blocking in place", g()),
        Kind::Pin => format!("{} is pinned to core {n}", g()),
        Kind::Unpin => format!("{} is not pinned any more", g()),
        Kind::Hold => format!("holds P {p}"),
        Kind::Release => format!("gives P {p} up"),
        Kind::Procs => format!("there are to be {n} P's, not {b}"),
        Kind::Tick => "the 61st dispatch: the global queue goes first".into(),
        Kind::Spin => "begins to look for other P's work".into(),
        Kind::SpinEnd if how == 1 => "finds work".into(),
        Kind::SpinEnd => "finds no work".into(),
        Kind::Rest if b == u64::MAX => "rests until it is woken".into(),
        Kind::Rest => format!("rests until {}", at(b)),
        Kind::Rise => "ends its rest".into(),
        Kind::Woken if how == 1 => "was woken, and has found a goroutine".into(),
        Kind::Woken => "was woken in vain".into(),
        Kind::Wake => format!("wakes M {a}"),
        Kind::Defer => "puts a wake-up off".into(),
        Kind::IpiReceived => "is interrupted by another core".into(),
        Kind::IpiSent => format!("interrupts the core of M {a}"),
        Kind::Alarm => match how & 3 {
            0 => "its one-shot rings".into(),
            1 => "its one-shot rings: a timer is due".into(),
            2 => "its one-shot rings: the slice is over".into(),
            _ => "its one-shot rings: a timer is due, and the slice is over".into(),
        },
        Kind::SliceEnd => format!("{} has run long enough", g()),
        Kind::Ripe => "the goroutine in the slot has waited too long: any thief may take it".into(),
        Kind::ChainEnd => format!("{} goes behind the ring: the slice of its chain is over", g()),
        Kind::Arm => format!("sets its one-shot to {}", at(b)),
        Kind::TimerSet => format!("a timer{} is set to {}", of(run, a), at(b)),
        Kind::TimerFired => format!("a timer{} fires", of(run, a)),
        Kind::TimerCancel => format!("a timer{} is taken back", of(run, a)),
        Kind::Grow => format!("the stack of {} grows to {} bytes", g(), count(b)),
        Kind::Shrink => format!("the stack of {} shrinks to {} bytes", g(), count(b)),
        Kind::Pack => format!("the stack of {} is packed into {} bytes", g(), count(b)),
        Kind::Unpack => format!("the stack of {} is unpacked", g()),
        Kind::Epoch => format!("an epoch ends: {} frames go back", count(b)),
        Kind::Pressure => "the heap asks for memory back".into(),
        Kind::Frames => format!("{} of {} frames are free", count(a), count(b)),
        Kind::Log => {
            let (category, message) = event.log().unwrap_or_default();
            let category = if category.is_empty() { String::new() } else { format!("{}: ", cut(category, NAME)) };
            format!("the program says: {category}{}", cut(message, NAME))
        }
        Kind::RegionBegin => format!("the region {text:?} begins"),
        Kind::RegionEnd => "the innermost region ends".into(),
        Kind::TaskBegin => format!("task {a} {text:?} begins"),
        Kind::TaskEnd => format!("task {a} ends"),
        Kind::Begin => "the recorder begins".into(),
        Kind::Snapshot if p == Record::NO_P => format!("the global queue has {}", goroutines(n)),
        Kind::Snapshot => format!("the ring of P {p} has {}", goroutines(n)),
        Kind::Text | Kind::Stack | Kind::Queued => format!("a piece of kind {}", kind.as_str()),
    }
}

fn goroutines(n: u32) -> String {
    format!("{n} goroutine{}", if n == 1 { "" } else { "s" })
}

fn of(run: &Recording, g: u64) -> String {
    if g == 0 { " that calls a function".into() } else { format!(" of {}", title(&run.title(g), NAME)) }
}

fn put(place: Place) -> &'static str {
    match place {
        Place::Nowhere => "nowhere",
        Place::Slot => "into the slot",
        Place::Ring => "into the ring",
        Place::Global => "into the global queue",
        Place::Inbox => "into the inbox",
        Place::Pinned => "among the pinned",
        Place::Hand => "in hand",
        Place::Marked => "aside until it has left its core",
        Place::Timers => "among the timers",
    }
}

fn switch(run: &Recording, event: &Event) -> String {
    let Record { a, b, .. } = event.record;
    let why = event.why();
    let reason = cut(&run.trace.meta.why(why), NAME);
    let left = match a {
        0 => String::new(),
        _ if why.waits() => format!("{} waits ({reason})", title(&run.title(a), NAME)),
        _ => format!("{} leaves ({reason})", title(&run.title(a), NAME)),
    };
    let from = match event.place() {
        Place::Nowhere => "",
        Place::Slot => " from the slot",
        Place::Ring => " from the ring",
        Place::Global => " from the global queue",
        Place::Inbox => " from the inbox",
        Place::Pinned => " from the pinned",
        Place::Hand => " from the hand",
        Place::Marked | Place::Timers => " from elsewhere",
    };
    let runs = if b == 0 { "g0 runs".into() } else { format!("{}{from} runs", title(&run.title(b), NAME)) };
    if left.is_empty() { runs } else { format!("{left}, {runs}") }
}
