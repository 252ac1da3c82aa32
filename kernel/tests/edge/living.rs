//! Pages of a stack whose goroutine lives, touched by other code.

use core::hint::black_box;

use trefoil::JoinError;
use trefoil::arch::lock::Lock;
use trefoil::prelude::*;

use crate::deep::{KIB, deep, until};
use crate::{FORBIDDEN, lowest, untouched};

pub fn pages_of_the_living_are_there_for_everybody() {
    let (to, from) = chan::bounded::<usize>(0);
    let (done, wait) = chan::bounded::<()>(0);
    let owner = go(move || {
        let low = untouched(160 * KIB);
        to.send(low).unwrap();
        wait.recv().unwrap();
        runtime::current().stack_high_water
    });
    let low = from.recv().unwrap();
    let touch = |at: usize, off: bool| {
        move || {
            static LOCK: Lock<()> = Lock::new(());
            let _held = off.then(|| LOCK.lock());
            // SAFETY: the page is the owner's, below what it uses: nobody has a use for these
            // bytes.
            unsafe {
                (at as *mut u64).write_volatile(at as u64);
                assert_eq!((at as *const u64).read_volatile(), at as u64);
            }
        }
    };
    // Each page by another G, with preemption on and off, while the stack is shrunk again and
    // again.
    let touchers: Vec<_> = (0..20).map(|i| go(touch(low + i * 4096, i % 2 == 0))).collect();
    runtime::scavenge();
    touchers.into_iter().for_each(|t| t.join().unwrap());
    runtime::scavenge();
    done.send(()).unwrap();
    assert!(owner.join().unwrap() > 150 * KIB, "nobody has noticed how deep it reaches");
    // A page that a packed stack does not have.
    let (to, from) = chan::bounded::<usize>(1);
    let (done, wait) = chan::bounded::<()>(0);
    let packed = go(move || {
        to.send(untouched(64 * KIB)).unwrap();
        wait.recv().unwrap();
    });
    let low = from.recv().unwrap();
    until(|| runtime::goroutines().iter().any(|g| g.wait_reason == runtime::WaitReason::ChanRecv));
    runtime::scavenge();
    go(touch(low, false)).join().unwrap();
    done.send(()).unwrap();
    packed.join().unwrap();
}

pub fn aligned_values_find_their_place() {
    #[repr(align(4096))]
    struct Page([u8; 4096]);
    #[repr(align(8192))]
    struct Two([u8; 8192]);
    #[repr(align(4096))]
    struct Four([u8; 16384]);
    trait Make: Send + 'static {
        fn make() -> Self;
        fn last(&self) -> u8;
    }
    macro_rules! make {
        ($($t:ident)*) => { $( impl Make for $t {
            fn make() -> Self { Self([7; size_of::<Self>()]) }
            fn last(&self) -> u8 { self.0[self.0.len() - 1] }
        } )* };
    }
    make!(Page Two Four);
    fn hand<T: Make>(depth: usize) {
        let (tx, rx) = chan::bounded::<T>(0);
        let receiver = go(move || {
            assert_eq!(deep(depth, 1), 0);
            rx.recv().map(|value| black_box(&value).last())
        });
        until(|| runtime::goroutines().iter().any(|g| g.wait_reason == runtime::WaitReason::ChanRecv));
        runtime::scavenge();
        let sender = go(move || tx.send(black_box(T::make())).is_ok());
        assert!(sender.join().unwrap());
        assert_eq!(receiver.join().unwrap(), Ok(7));
    }
    for depth in [0, 2 * KIB, 40 * KIB] {
        hand::<Page>(depth);
        hand::<Two>(depth);
        hand::<Four>(depth);
    }
}

pub fn red_pages_of_the_living_are_nobodys() {
    let (to, from) = chan::bounded::<usize>(0);
    let (done, wait) = chan::bounded::<()>(0);
    let owner = go(move || {
        to.send(lowest()).unwrap();
        wait.recv().unwrap();
    });
    let lo = from.recv().unwrap();
    for left in [0, 4095, 4096, FORBIDDEN - 1] {
        let toucher = go(move || {
            // SAFETY: none: these pages are nobody's. The machine answers for it.
            unsafe { ((lo + left) as *const u8).read_volatile() }
        });
        assert!(matches!(toucher.join(), Err(JoinError::DeadStack)), "with {left} bytes left");
    }
    done.send(()).unwrap();
    owner.join().unwrap();
}
