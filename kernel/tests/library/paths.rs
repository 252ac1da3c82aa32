//! `std`'s paths, in a module that takes this crate for it.

use trefoil as std;

use std::borrow::Cow;
use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, HashMap, HashSet, LinkedList, VecDeque};
use std::error::Error;
use std::fmt::{self, Display};
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, RwLock};
use std::time::{Duration, Instant};
use std::{boxed::Box, format, mem, string::String, vec, vec::Vec};

#[derive(Debug)]
struct Broken(Cow<'static, str>);

impl Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Error for Broken {}

pub fn std_paths_lead_to_the_same_items() {
    static COUNT: AtomicUsize = AtomicUsize::new(0);
    static ONCE: OnceLock<usize> = OnceLock::new();
    let begin = Instant::now();
    let shared = Arc::new((Mutex::new(VecDeque::from([1, 2])), RwLock::new(HashMap::from([("a", 1)]))));
    shared.0.lock().unwrap().push_front(mem::take(shared.1.write().unwrap().get_mut("a").unwrap()));
    assert_eq!(shared.0.lock().unwrap().make_contiguous(), [1, 1, 2]);
    let cells = Rc::new((Cell::new(1), RefCell::new(vec![2])));
    cells.1.borrow_mut().push(cells.0.get());
    COUNT.fetch_add(cells.1.borrow().len(), Ordering::Relaxed);
    let error: Box<dyn Error> = Box::new(Broken("it is so".into()));
    assert_eq!((format!("{error}"), COUNT.load(Ordering::Relaxed)), (String::from("it is so"), 2));
    assert_eq!(ONCE.get_or_init(|| 5), &5);
    let unique: HashSet<u32> = LinkedList::from([1, 1]).into_iter().collect();
    let sorted: Vec<_> = BTreeMap::from([(2, 'b'), (1, 'a')]).into_values().collect();
    assert!(unique.len() == 1 && sorted == ['a', 'b'] && begin.elapsed() < Duration::from_secs(10));
    alloc_paths();
}

/// The crate's name comes with the prelude.
fn alloc_paths() {
    use trefoil::prelude::*;
    let strings: alloc::collections::BTreeMap<alloc::string::String, alloc::rc::Rc<str>> =
        alloc::collections::BTreeMap::new();
    assert!(strings.is_empty());
}
