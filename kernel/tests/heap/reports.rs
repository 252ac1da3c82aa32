//! Memory that runs out where no code can unwind: a report.

use core::hint::black_box;

use trefoil::prelude::*;

fn ask_for_too_much() {
    drop(black_box(Vec::<u8>::with_capacity(1 << 40)));
}

pub fn exhaustion_in_main_is_reported() {
    ask_for_too_much();
}

pub fn exhaustion_with_preemption_off_is_reported() {
    let _ = go(|| trefoil::console::with_locked(ask_for_too_much)).join();
}

pub fn exhaustion_with_interrupts_off_is_reported() {
    let _ = go(|| {
        // SAFETY: the machine ends with them off.
        unsafe { core::arch::asm!("cli") };
        ask_for_too_much();
    })
    .join();
}

pub fn exhaustion_on_g0_is_reported() {
    static CHORE: trefoil_sched::internals::timers::Chore = trefoil_sched::internals::timers::Chore::new(|_| {
        ask_for_too_much();
        None
    });
    CHORE.start(0);
    time::sleep(Duration::from_secs(1));
}

pub fn allocation_in_a_handler_is_reported() {
    trefoil::console::with_locked(|| {
        trefoil::arch::percpu::current().enter_handler();
        drop(black_box(Box::new(5)));
    });
}

pub fn exhaustion_in_a_destructor_is_reported() {
    struct Asks;
    impl Drop for Asks {
        fn drop(&mut self) {
            ask_for_too_much();
        }
    }
    let _ = go(|| {
        let _asks = Asks;
        ask_for_too_much();
    })
    .join();
}
