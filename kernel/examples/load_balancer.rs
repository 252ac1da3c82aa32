//! Rob Pike's load balancer, from "Concurrency is not parallelism": clients send requests to a
//! balancer, which gives each one to the worker with the least to do. A worker tells the balancer
//! when it is done. No state is shared: the balancer alone knows how much each worker has to do.
#![no_std]
#![no_main]

use trefoil::prelude::*;
use trefoil::rand;

const CLIENTS: usize = 20;
const WORKERS: usize = 4;

/// A number to be squared, and where the answer goes.
struct Request {
    number: u64,
    reply: Sender<u64>,
}

/// Starts a worker; its number comes from `done` after each answer.
fn worker(number: usize, done: Sender<usize>) -> Sender<Request> {
    // There is room for a request of each client, so the balancer never waits for a worker.
    let (requests, queue) = chan::bounded::<Request>(CLIENTS);
    drop(go(move || {
        for request in &queue {
            time::sleep(Duration::from_micros(rand::random_range(50..500))); // works hard
            // In this order the balancer's count is right when the client asks again.
            done.send(number).unwrap();
            let _ = request.reply.send(request.number * request.number);
        }
    }));
    requests
}

struct Balancer {
    workers: Vec<Sender<Request>>,
    /// How many requests each worker has.
    pending: Vec<usize>,
    /// The same in order, the least first: Go's heap, from which any worker can be taken.
    by_load: BTreeSet<(usize, usize)>,
    served: Vec<usize>,
    most: usize,
}

impl Balancer {
    fn new(done: &Sender<usize>) -> Self {
        Self {
            workers: (0..WORKERS).map(|number| worker(number, done.clone())).collect(),
            pending: vec![0; WORKERS],
            by_load: (0..WORKERS).map(|number| (0, number)).collect(),
            served: vec![0; WORKERS],
            most: 0,
        }
    }

    fn set_load(&mut self, worker: usize, load: usize) {
        self.by_load.remove(&(self.pending[worker], worker));
        self.by_load.insert((load, worker));
        self.pending[worker] = load;
    }

    fn dispatch(&mut self, request: Request) {
        let &(load, worker) = self.by_load.first().unwrap();
        assert!(self.workers[worker].send(request).is_ok(), "workers live as long as their balancer");
        self.set_load(worker, load + 1);
        self.most = self.most.max(load + 1);
    }

    fn completed(&mut self, worker: usize) {
        self.set_load(worker, self.pending[worker] - 1);
        self.served[worker] += 1;
    }

    /// Serves until no client is left and every request is answered.
    fn run(mut self, requests: &Receiver<Request>, done: &Receiver<usize>) -> (Vec<usize>, usize) {
        loop {
            select! {
                recv(requests) -> request => match request {
                    Ok(request) => self.dispatch(request),
                    Err(_) => break,
                },
                recv(done) -> worker => self.completed(worker.unwrap()),
            }
        }
        while self.pending.iter().any(|load| *load > 0) {
            self.completed(done.recv().unwrap());
        }
        (self.served, self.most)
    }
}

/// Asks so many questions, one after the other, and counts the right answers.
fn client(questions: u64, requests: &Sender<Request>) -> usize {
    let (reply, answer) = chan::bounded(1);
    let is_right = |number: u64| {
        let sent = requests.send(Request { number, reply: reply.clone() });
        sent.is_ok() && answer.recv() == Ok(number * number)
    };
    (0..questions).filter(|_| is_right(rand::random_range(0..1000))).count()
}

#[trefoil::main]
fn main() {
    let questions = runtime::args().next().and_then(|word| word.parse().ok()).unwrap_or(50);
    let (requests, incoming) = chan::bounded(0);
    let (done, finished) = chan::bounded(0);
    let balancer = Balancer::new(&done);
    let clients: Vec<_> = (0..CLIENTS)
        .map(|_| {
            let requests = requests.clone();
            go(move || client(questions, &requests))
        })
        .collect();
    drop(requests); // the clients hold the other senders: `incoming` ends with the last of them
    let (served, most) = balancer.run(&incoming, &finished);
    let right: usize = clients.into_iter().map(|client| client.join().unwrap()).sum();
    println!("{right} right answers to {} requests", served.iter().sum::<usize>());
    println!("at most {most} of {CLIENTS} requests at one of {WORKERS} workers");
    println!("by worker: {served:?}");
}
