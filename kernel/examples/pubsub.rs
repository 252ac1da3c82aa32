//! Publish and subscribe: a broker passes each message of a topic on to all who have subscribed to
//! it. A subscriber with a queue of its own is either waited for, or misses messages while its
//! queue is full. Dropping a subscription ends it, even while a publisher waits for it.
#![no_std]
#![no_main]

use trefoil::chan::TrySendError;
use trefoil::prelude::*;

type Message = Arc<str>;

/// The fate of a message when a subscriber's queue is full.
#[derive(Clone, Copy, PartialEq)]
enum WhenFull {
    Wait,
    Miss,
}

/// The broker's end of a subscription.
struct Subscriber {
    queue: Sender<Message>,
    when_full: WhenFull,
    missed: AtomicUsize,
}

/// The other end. Dropping it ends the subscription.
struct Subscription {
    messages: Receiver<Message>,
    subscriber: Arc<Subscriber>,
    topic: &'static str,
    broker: Arc<Broker>,
}

#[derive(Default)]
struct Broker {
    topics: RwLock<HashMap<&'static str, Vec<Arc<Subscriber>>>>,
}

impl Broker {
    fn subscribe(self: &Arc<Self>, topic: &'static str, room: usize, when_full: WhenFull) -> Subscription {
        let (queue, messages) = chan::bounded(room);
        let subscriber = Arc::new(Subscriber { queue, when_full, missed: AtomicUsize::new(0) });
        self.topics.write().unwrap().entry(topic).or_default().push(subscriber.clone());
        Subscription { messages, subscriber, topic, broker: self.clone() }
    }

    /// Passes `text` on, and returns how many subscribers get it.
    fn publish(&self, topic: &str, text: &str) -> usize {
        // Nobody waits with the lock held: others subscribe and leave meanwhile.
        let subscribers = self.topics.read().unwrap().get(topic).cloned().unwrap_or_default();
        let message: Message = text.into();
        subscribers.iter().filter(|subscriber| subscriber.hand_over(message.clone())).count()
    }

    fn subscribers(&self) -> usize {
        self.topics.read().unwrap().values().map(Vec::len).sum()
    }
}

impl Subscriber {
    fn hand_over(&self, message: Message) -> bool {
        match self.when_full {
            WhenFull::Wait => self.queue.send(message).is_ok(),
            WhenFull::Miss => match self.queue.try_send(message) {
                Ok(()) => true,
                Err(TrySendError::Full(_)) => {
                    self.missed.fetch_add(1, Ordering::Relaxed);
                    false
                }
                Err(TrySendError::Disconnected(_)) => false,
            },
        }
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        if let Some(subscribers) = self.broker.topics.write().unwrap().get_mut(self.topic) {
            subscribers.retain(|other| !Arc::ptr_eq(other, &self.subscriber));
        }
        // A publisher that waits for room here gets its message back, and goes on.
        self.subscriber.queue.close();
    }
}

#[trefoil::main]
fn main() {
    let broker = Arc::new(Broker::default());
    let reader = broker.subscribe("news", 4, WhenFull::Wait);
    let sleeper = broker.subscribe("news", 10, WhenFull::Miss);
    let leaver = broker.subscribe("news", 0, WhenFull::Wait);
    let sailor = broker.subscribe("weather", 100, WhenFull::Miss);

    let reader = go(move || {
        let numbers: Vec<usize> = reader.messages.iter().take(1000).map(|text| text[5..].parse().unwrap()).collect();
        numbers.is_sorted() && numbers.len() == 1000
    });
    // When it leaves, the publisher may be waiting for it.
    let leaver = go(move || leaver.messages.iter().take(5).count());
    let (newsroom, station) = (broker.clone(), broker.clone());
    let newsroom = go(move || (0..1000).map(|n| newsroom.publish("news", &format!("news {n}"))).sum::<usize>());
    let station = go(move || (0..100).map(|n| station.publish("weather", &format!("wind {n}"))).sum::<usize>());

    println!("the leaver read {} messages", leaver.join().unwrap());
    println!("the reader has all 1000 in order: {}", reader.join().unwrap());
    println!("news was handed over {} times, the weather {}", newsroom.join().unwrap(), station.join().unwrap());
    println!("the sailor has {} messages, the last is {:?}", sailor.messages.len(), sailor.messages.iter().nth(99));
    let missed = sleeper.subscriber.missed.load(Ordering::Relaxed);
    println!("the sleeper has {} messages and missed {missed}", sleeper.messages.len());
    println!("nobody reads \"sports\": {} handed over", broker.publish("sports", "1:0"));
    drop((sleeper, sailor));
    println!("{} subscribers are left", broker.subscribers());
}
