//! A chat room on the serial line. One goroutine is the room: it alone knows who is there, and
//! hears of everything by a channel. Everybody else is a goroutine with a channel of its own: you,
//! by the lines that you type, and three who answer in their own time. `/who`, `/bye`, or Ctrl-D at
//! the end.
#![no_std]
#![no_main]

use trefoil::prelude::*;

/// A message to the room.
enum Event {
    Comes { name: String, to: Sender<Said> },
    Says(Said),
    Asks { name: String },
    Goes { name: String },
}

/// A line of talk and its speaker; all listeners share the text.
#[derive(Clone)]
struct Said {
    name: String,
    text: Arc<str>,
}

/// Runs the room until everybody has gone.
fn room(events: &Receiver<Event>) -> usize {
    let mut people = BTreeMap::<String, Sender<Said>>::new();
    let mut messages = 0;
    let tell = |people: &BTreeMap<String, Sender<Said>>, name: &str, text: &str| {
        let said = Said { name: name.to_string(), text: text.into() };
        // A listener with a full queue misses the line: nobody makes the room wait.
        for (_, to) in people.iter().filter(|(other, _)| *other != name) {
            let _ = to.try_send(said.clone());
        }
    };
    for event in events {
        match event {
            Event::Comes { name, to } => {
                tell(&people, "room", &format!("{name} has come"));
                people.insert(name, to);
            }
            Event::Says(said) => {
                messages += 1;
                tell(&people, &said.name, &said.text);
            }
            Event::Asks { name } => {
                let all = people.keys().map(String::as_str).collect::<Vec<_>>().join(", ");
                let text = format!("here are {all}").into();
                let _ = people[&name].try_send(Said { name: "room".to_string(), text });
            }
            Event::Goes { name } => {
                people.remove(&name);
                tell(&people, "room", &format!("{name} has gone"));
            }
        }
    }
    messages
}

/// Comes into the room, and gives the ear.
fn enter(name: &str, room: &Sender<Event>) -> Receiver<Said> {
    let (to, hears) = chan::bounded(32);
    let _ = room.send(Event::Comes { name: name.to_string(), to });
    hears
}

/// Starts a companion, which answers the human.
fn companion(name: &'static str, thinks: Duration, room: Sender<Event>, answer: fn(&str) -> Option<String>) {
    let hears = enter(name, &room);
    drop(go(move || {
        for said in hears.iter().filter(|said| said.name == "you") {
            time::sleep(thinks);
            if let Some(text) = answer(&said.text) {
                let _ = room.send(Event::Says(Said { name: name.to_string(), text: text.into() }));
            }
            if &*said.text == "/bye" {
                break;
            }
        }
        let _ = room.send(Event::Goes { name: name.to_string() });
    }));
}

#[trefoil::main]
fn main() {
    println!("a room with three others: type a line, /who or /bye");
    let (events, heard) = chan::bounded(32);
    let the_room = go(move || room(&heard));
    let hears = enter("you", &events);
    let screen = go(move || hears.iter().for_each(|said| println!("{:>6}: {}", said.name, said.text)));

    companion("echo", Duration::from_millis(2), events.clone(), |text| {
        (!text.starts_with('/')).then(|| text.to_string())
    });
    companion("count", Duration::from_millis(6), events.clone(), |text| {
        Some(format!("{} letters", text.chars().filter(|c| c.is_alphabetic()).count()))
    });
    companion("shout", Duration::from_millis(4), events.clone(), |text| {
        text.contains('!').then(|| text.to_uppercase())
    });

    for line in runtime::stdin() {
        if line == "/who" {
            let _ = events.send(Event::Asks { name: "you".to_string() });
        } else {
            let _ = events.send(Event::Says(Said { name: "you".to_string(), text: line.as_str().into() }));
        }
        if line == "/bye" {
            break;
        }
    }
    // The end of the input is a good-bye, too: the others leave when they have heard it.
    let _ = events.send(Event::Says(Said { name: "you".to_string(), text: "/bye".into() }));
    time::sleep(Duration::from_millis(20));
    let _ = events.send(Event::Goes { name: "you".to_string() });
    screen.join().unwrap();
    drop(events);
    println!("{} messages", the_room.join().unwrap());
}
