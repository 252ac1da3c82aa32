//! A program whose goroutines stand in known places when it calls `all_stand`. Its first word says
//! how many cores there are. With the word `stay`, the program does not end.

#![no_std]
#![no_main]

extern crate trefoil_kernel as trefoil;

use core::hint::black_box;
use core::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use trefoil::prelude::*;
use trefoil::runtime::WaitReason;

static ARRIVED: AtomicUsize = AtomicUsize::new(0);
static TURNS: [AtomicUsize; 8] = [const { AtomicUsize::new(0) }; 8];

#[trefoil::main]
fn main() {
    let cores = runtime::args().next().and_then(|word| word.parse().ok()).unwrap_or(1);
    while runtime::max_procs() < cores {
        time::sleep(Duration::from_millis(1));
    }
    one_on_each_core(cores);

    // Parked for good, and packed by the scavenger.
    let (cold_tx, cold_rx) = chan::bounded::<u64>(0);
    named("cold", move || outer(cold_rx, 7));
    until_waits("cold", WaitReason::ChanRecv);
    runtime::scavenge();

    // Parked a moment ago.
    let (tx, rx) = chan::bounded::<u64>(3);
    let receiver = rx.clone();
    named("receiver", move || receive(&receiver));
    until_waits("receiver", WaitReason::ChanRecv);
    let held = Arc::new(sync::Mutex::new(41u64));
    let wanted = held.clone();
    let guard = held.lock().unwrap();
    named("locker", move || lock(&wanted));
    until_waits("locker", WaitReason::Mutex);
    let table = Arc::new(sync::RwLock::new([1u8, 2, 3]));
    let reader = table.read().unwrap();
    let resting = Builder::new().name("sleeper").spawn(rest).unwrap();
    until_waits("sleeper", WaitReason::Sleep);

    // One more than there are cores: one of them does not run.
    for number in 0..cores {
        named("spinner", move || spin(number));
    }
    let (full_tx, full_rx) = chan::bounded::<u64>(3);
    full_tx.send(10).unwrap();
    full_tx.send(11).unwrap();
    let (closed_tx, closed_rx) = chan::unbounded::<String>();
    closed_tx.send("left over".into()).unwrap();
    drop(closed_tx);
    let (large_tx, large) = chan::bounded::<[u64; 20]>(1);
    large_tx.send([5; 20]).unwrap();
    let group = sync::WaitGroup::new();
    group.add(2);
    let (held_too, table_too) = (held.clone(), table.clone());
    let shown =
        Shown { tx, held: held_too, table: table_too, full: full_rx, closed: closed_rx, large, group, resting };
    let looker = Builder::new().name("looker").spawn(move || look(cores, shown)).unwrap();
    joins(looker);
    drop((guard, reader, cold_tx));
    println!("the end");
}

struct Shown {
    tx: Sender<u64>,
    held: Arc<sync::Mutex<u64>>,
    table: Arc<sync::RwLock<[u8; 3]>>,
    full: Receiver<u64>,
    closed: Receiver<String>,
    large: Receiver<[u64; 20]>,
    group: sync::WaitGroup,
    resting: JoinHandle<()>,
}

fn named(name: &str, f: impl FnOnce() + Send + 'static) {
    drop(Builder::new().name(name).spawn(f).unwrap());
}

/// Waits until the goroutine `name` is parked for `reason`.
fn until_waits(name: &str, reason: WaitReason) {
    let stands = |g: &runtime::GInfo| g.name.as_str() == name && g.wait_reason == reason && g.state.is_parked();
    while !runtime::goroutines().iter().any(stands) {
        time::sleep(Duration::from_millis(1));
    }
}

/// Calls `arrives` once on each core.
fn one_on_each_core(cores: usize) {
    let gs: Vec<_> = (0..cores)
        .map(|_| {
            go(move || {
                ARRIVED.fetch_add(1, Relaxed);
                // Each keeps its core until there is one on every other core.
                while ARRIVED.load(Relaxed) < cores {
                    core::hint::spin_loop();
                }
                arrives(runtime::core());
            })
        })
        .collect();
    gs.into_iter().for_each(|g| g.join().unwrap());
}

#[inline(never)]
fn arrives(core: usize) {
    black_box(core);
}

#[inline(never)]
fn outer(rx: Receiver<u64>, depth: u64) {
    let kept = black_box(depth * 6);
    inner(&rx, kept);
    black_box(kept);
}

#[inline(never)]
fn inner(rx: &Receiver<u64>, answer: u64) {
    let _ = black_box(rx.recv());
    black_box(answer);
}

#[inline(never)]
fn receive(rx: &Receiver<u64>) {
    let _ = black_box(rx.recv());
}

#[inline(never)]
fn lock(mutex: &sync::Mutex<u64>) {
    black_box(*mutex.lock().unwrap());
}

#[inline(never)]
fn rest() {
    time::sleep(Duration::from_secs(3600));
    black_box(0);
}

#[inline(never)]
fn spin(number: usize) {
    loop {
        TURNS[number].fetch_add(1, Relaxed);
    }
}

#[inline(never)]
fn joins(looker: JoinHandle<()>) {
    let _ = black_box(looker.join());
}

fn look(cores: usize, shown: Shown) {
    until_waits("main", WaitReason::Join);
    while TURNS[..cores].iter().any(|turns| turns.load(Relaxed) == 0) {
        runtime::yield_now();
    }
    // From here on no core changes its goroutine: one spinner waits, the others run.
    runtime::set_slice(Duration::from_secs(60));
    let begin = Instant::now();
    while begin.elapsed() < Duration::from_millis(50) {
        core::hint::spin_loop();
    }
    all_stand(&shown);
    if runtime::args().any(|word| word == "stay") {
        stays();
    }
}

/// Tells that it stands here, and stays. The line may be read before `println!` has returned.
#[inline(never)]
fn stays() -> ! {
    println!("all stand, and stay");
    loop {
        core::hint::spin_loop();
    }
}

/// Everything stands: the debugger looks here.
#[inline(never)]
fn all_stand(shown: &Shown) {
    black_box((&shown.tx, &shown.held, &shown.table, &shown.full, &shown.closed));
    black_box((&shown.large, &shown.group, &shown.resting));
}
