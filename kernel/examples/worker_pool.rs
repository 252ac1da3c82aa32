//! A pool of workers: a bounded queue of jobs, as many workers as there are P's, and an answer for
//! every job, in the order of submission. A job that panics fails alone: its worker goes on.
#![no_std]
#![no_main]

use trefoil::JoinError;
use trefoil::prelude::*;

type Job = Box<dyn FnOnce() -> u64 + Send>;
/// Where its answer goes.
type Reply = Sender<Result<u64, JoinError>>;

/// A pool. When it is dropped, its workers finish what is queued, and end.
struct Pool {
    jobs: Sender<(Job, Reply)>,
    workers: Vec<JoinHandle<usize>>,
}

impl Pool {
    fn new(workers: usize) -> Self {
        // A few jobs wait here; after that, submitters wait themselves.
        let (jobs, queue) = chan::bounded::<(Job, Reply)>(2 * workers);
        let worker = |_| {
            let queue = queue.clone();
            go(move || {
                let mut done = 0;
                for (job, reply) in &queue {
                    // A goroutine costs less than catching what a job may do to its worker.
                    let answer = go(job).join();
                    done += usize::from(answer.is_ok());
                    let _ = reply.send(answer);
                }
                done
            })
        };
        Self { jobs, workers: (0..workers).map(worker).collect() }
    }

    /// Queues a job; its answer comes from what is returned.
    fn submit(&self, job: impl FnOnce() -> u64 + Send + 'static) -> Receiver<Result<u64, JoinError>> {
        let (reply, answer) = chan::bounded(1);
        assert!(self.jobs.send((Box::new(job), reply)).is_ok(), "the workers are there as long as the pool");
        answer
    }

    /// Waits for the end, and says how many jobs each worker has done.
    fn finish(self) -> Vec<usize> {
        drop(self.jobs);
        self.workers.into_iter().map(|w| w.join().unwrap()).collect()
    }
}

#[trefoil::main]
fn main() {
    let jobs = runtime::args().next().and_then(|a| a.parse().ok()).unwrap_or(200u64);
    let pool = Pool::new(runtime::max_procs());
    let answers: Vec<_> = (1..=jobs)
        .map(|n| {
            pool.submit(move || {
                assert!(n % 50 != 0, "job {n} does not like its number");
                (1..=n * 100).fold(0, |sum, i| sum ^ (i * i))
            })
        })
        .collect();
    let (mut done, mut failed) = (0, 0);
    for (n, answer) in (1..).zip(answers) {
        match answer.recv().unwrap() {
            Ok(_) => done += 1,
            Err(error) => {
                failed += 1;
                println!("job {n}: {error}");
            }
        }
    }
    println!("{done} jobs done, {failed} failed");
    println!("by worker: {:?}", pool.finish());
}
