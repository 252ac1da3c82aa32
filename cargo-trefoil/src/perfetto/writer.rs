//! Writes packets: events on tracks, whose names are written once.

use std::collections::HashMap;

use super::proto::{Arg, Interned, InternedText, Name, Packet, Track, TrackEvent};

/// The one sequence of packets with events.
const SEQUENCE: u32 = 1;

const BEGIN: i32 = 1;
const END: i32 = 2;
const INSTANT: i32 = 3;
const VALUE: i32 = 4;

/// A trace that grows.
#[derive(Debug, Default)]
pub(super) struct Writer {
    trace: Vec<u8>,
    begun: bool,
    categories: Numbers,
    events: Numbers,
    args: Numbers,
    texts: Numbers,
    /// Those that no packet has told yet.
    new: Interned,
    has_new: bool,
}

/// The numbers of names.
#[derive(Debug, Default)]
struct Numbers(HashMap<String, u64>);

impl Numbers {
    /// Returns the number of `name`, and whether it is new.
    fn of(&mut self, name: &str) -> (u64, bool) {
        if let Some(&number) = self.0.get(name) {
            return (number, false);
        }
        let number = self.0.len() as u64 + 1;
        self.0.insert(name.into(), number);
        (number, true)
    }
}

impl Writer {
    /// Appends a packet that is no event.
    pub(super) fn push(&mut self, packet: &Packet) {
        packet.push_to(&mut self.trace);
    }

    /// Describes a track.
    pub(super) fn track(&mut self, track: Track) {
        self.push(&Packet { track: Some(track), sequence: Some(SEQUENCE), ..Packet::default() });
    }

    /// Returns the trace.
    pub(super) fn finish(self) -> Vec<u8> {
        self.trace
    }

    /// Begins a slice.
    pub(super) fn begin(&mut self, track: u64, at: u64, category: &str, name: &str) -> Event<'_> {
        self.named(BEGIN, track, at, category, name)
    }

    /// Ends the innermost slice.
    pub(super) fn end(&mut self, track: u64, at: u64) -> Event<'_> {
        self.event(END, track, at)
    }

    /// Writes an instant.
    pub(super) fn instant(&mut self, track: u64, at: u64, category: &str, name: &str) -> Event<'_> {
        self.named(INSTANT, track, at, category, name)
    }

    /// Writes the value that a counter has from now on.
    pub(super) fn value(&mut self, track: u64, at: u64, value: u64) {
        let mut event = self.event(VALUE, track, at);
        event.event.value = Some(value as i64);
        event.write();
    }

    fn event(&mut self, kind: i32, track: u64, at: u64) -> Event<'_> {
        let event = TrackEvent { kind: Some(kind), track: Some(track), ..TrackEvent::default() };
        Event { writer: self, at, event }
    }

    fn named(&mut self, kind: i32, track: u64, at: u64, category: &str, name: &str) -> Event<'_> {
        let (category, name) = (self.category(category), self.name(name));
        let mut event = self.event(kind, track, at);
        event.event.categories.push(category);
        event.event.name = Some(name);
        event
    }

    fn category(&mut self, name: &str) -> u64 {
        let (number, is_new) = self.categories.of(name);
        if is_new {
            self.new.categories.push(entry(number, name));
            self.has_new = true;
        }
        number
    }

    fn name(&mut self, name: &str) -> u64 {
        let (number, is_new) = self.events.of(name);
        if is_new {
            self.new.events.push(entry(number, name));
            self.has_new = true;
        }
        number
    }

    fn arg(&mut self, name: &str) -> Option<u64> {
        let (number, is_new) = self.args.of(name);
        if is_new {
            self.new.args.push(entry(number, name));
            self.has_new = true;
        }
        Some(number)
    }

    fn text(&mut self, text: &str) -> u64 {
        let (number, is_new) = self.texts.of(text);
        if is_new {
            self.new.texts.push(InternedText { number: Some(number), text: Some(text.into()) });
            self.has_new = true;
        }
        number
    }
}

fn entry(number: u64, name: &str) -> Name {
    Name { number: Some(number), name: Some(name.into()) }
}

/// An event that is being written.
#[derive(Debug)]
#[must_use = "an event is written by `write`"]
pub(super) struct Event<'a> {
    writer: &'a mut Writer,
    at: u64,
    event: TrackEvent,
}

impl Event<'_> {
    /// Adds a number.
    pub(super) fn number(mut self, name: &str, number: u64) -> Self {
        let name = self.writer.arg(name);
        self.event.args.push(Arg { name, number: Some(number), ..Arg::default() });
        self
    }

    /// Adds an address.
    pub(super) fn address(mut self, name: &str, address: u64) -> Self {
        let name = self.writer.arg(name);
        self.event.args.push(Arg { name, address: Some(address), ..Arg::default() });
        self
    }

    /// Adds a text. Each text is written once.
    pub(super) fn word(mut self, name: &str, text: &str) -> Self {
        let (name, text) = (self.writer.arg(name), self.writer.text(text));
        self.event.args.push(Arg { name, interned: Some(text), ..Arg::default() });
        self
    }

    /// Draws an arrow from here to the next event with the same number.
    pub(super) fn arrow(mut self, number: u64) -> Self {
        self.event.flows.push(number);
        self
    }

    /// Ends the arrow here.
    pub(super) fn arrow_ends(mut self, number: u64) -> Self {
        self.event.ending_flows.push(number);
        self
    }

    /// Writes the event.
    pub(super) fn write(self) {
        let Self { writer, at, event } = self;
        let flags = if writer.begun { Packet::NEEDS_NAMES } else { Packet::NEEDS_NAMES | Packet::CLEARED };
        writer.begun = true;
        let interned = writer.has_new.then(|| std::mem::take(&mut writer.new));
        writer.has_new = false;
        let packet = Packet {
            timestamp: Some(at),
            sequence: Some(SEQUENCE),
            event: Some(event),
            interned,
            flags: Some(flags),
            ..Packet::default()
        };
        packet.push_to(&mut writer.trace);
    }
}
