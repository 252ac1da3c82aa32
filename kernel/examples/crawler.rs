//! A crawler: a goroutine for every page, each page once, and never more than a few fetches at a
//! time. The web is made up: a page's links follow from its number, and fetching one takes a while.
#![no_std]
#![no_main]

use trefoil::prelude::*;

type Page = u32;

/// Fetches a page, and gives its links.
fn fetch(page: Page, pages: Page) -> Vec<Page> {
    time::sleep(Duration::from_micros(200 + u64::from(page % 7) * 100));
    [page * 2 + 1, page * 3 + 1, page / 2, page ^ 5].into_iter().filter(|link| *link < pages).collect()
}

/// The state that all goroutines share.
struct Crawl {
    /// How many pages the web has.
    pages: Page,
    /// Each page that somebody has gone to, and from which one.
    seen: Mutex<BTreeMap<Page, Page>>,
    /// A token for each fetch that may go on.
    tokens: (Sender<()>, Receiver<()>),
    fetching: AtomicUsize,
    most: AtomicUsize,
    running: WaitGroup,
}

impl Crawl {
    /// Goes to `page`, unless somebody has been there.
    fn visit(self: &Arc<Self>, page: Page, from: Page) {
        let mut seen = self.seen.lock().unwrap();
        if seen.contains_key(&page) {
            return;
        }
        seen.insert(page, from);
        drop(seen);
        self.running.add(1);
        let crawl = self.clone();
        drop(go(move || {
            crawl.tokens.0.send(()).unwrap(); // waits while too many fetch
            let now = crawl.fetching.fetch_add(1, Ordering::Relaxed) + 1;
            crawl.most.fetch_max(now, Ordering::Relaxed);
            let links = fetch(page, crawl.pages);
            crawl.fetching.fetch_sub(1, Ordering::Relaxed);
            crawl.tokens.1.recv().unwrap();
            links.into_iter().for_each(|link| crawl.visit(link, page));
            crawl.running.done();
        }));
    }
}

#[trefoil::main]
fn main() {
    let mut words = runtime::args().map(|word| word.parse().ok());
    let pages = words.next().flatten().unwrap_or(500);
    let at_once = words.next().flatten().unwrap_or(16) as usize;
    let crawl = Arc::new(Crawl {
        pages,
        seen: Mutex::new(BTreeMap::new()),
        tokens: chan::bounded(at_once),
        fetching: AtomicUsize::new(0),
        most: AtomicUsize::new(0),
        running: WaitGroup::new(),
    });
    let begin = Instant::now();
    crawl.visit(0, 0);
    crawl.running.wait();
    let seen = crawl.seen.lock().unwrap();
    println!("{} pages in {:?}", seen.len(), begin.elapsed());
    let (&last, _) = seen.last_key_value().unwrap();
    let mut route = vec![last];
    while let Some(&page) = route.last().filter(|page| **page != 0) {
        route.push(seen[&page]);
    }
    println!("{last} was found by way of {:?}", &route[1..]);
    println!("{} fetches at the same time, at most {at_once} allowed", crawl.most.load(Ordering::Relaxed));
}
