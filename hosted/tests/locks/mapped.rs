//! Guards of a part of the value.

use std::panic::AssertUnwindSafe;

use trefoil_hosted::prelude::*;
use trefoil_sched::locks::{
    MappedMutexGuard, MappedRwLockReadGuard, MappedRwLockWriteGuard, Mutex, MutexGuard, RwLock, RwLockReadGuard,
    RwLockWriteGuard,
};
use trefoil_sched::panic::catch_unwind;

use super::support::{shaken, tidy};

fn panics(f: impl FnOnce()) {
    assert!(catch_unwind(AssertUnwindSafe(f)).is_err());
}

#[test]
fn a_mapped_guard_holds_the_mutex_until_it_is_dropped() {
    tidy(1, || {
        let mutex = Mutex::new((1, [2, 3]));
        let mut part = MutexGuard::map(mutex.lock().unwrap(), |value| &mut value.1[..]);
        part[0] = 5;
        assert!(mutex.try_lock().is_err());
        let mut one = MappedMutexGuard::map(part, |part| &mut part[1]);
        *one += 1;
        assert!(mutex.try_lock().is_err());
        assert_eq!(format!("{one} {one:?}"), "4 4");
        drop(one);
        assert_eq!(*mutex.try_lock().unwrap(), (1, [5, 4]));
        assert!(!mutex.is_poisoned());
    });
}

#[test]
fn a_part_that_is_not_there_gives_the_guard_back() {
    tidy(1, || {
        let mutex = Mutex::new(vec![1]);
        let whole = MutexGuard::filter_map(mutex.lock().unwrap(), |value| value.get_mut(1)).unwrap_err();
        assert!(mutex.try_lock().is_err());
        let part = MutexGuard::map(whole, |value| &mut value[..]);
        let part = MappedMutexGuard::filter_map(part, |part| part.get_mut(1)).unwrap_err();
        assert!(mutex.try_lock().is_err());
        drop(MappedMutexGuard::filter_map(part, |part| part.first_mut()).unwrap());
        assert!(mutex.try_lock().is_ok());

        let lock = RwLock::new(vec![1]);
        let whole = RwLockReadGuard::filter_map(lock.read().unwrap(), |value| value.get(1)).unwrap_err();
        assert!(lock.try_write().is_err());
        let part = RwLockReadGuard::map(whole, |value| &value[..]);
        let part = MappedRwLockReadGuard::filter_map(part, |part| part.get(1)).unwrap_err();
        assert!(lock.try_write().is_err());
        drop(MappedRwLockReadGuard::filter_map(part, |part| part.first()).unwrap());
        let whole = RwLockWriteGuard::filter_map(lock.try_write().unwrap(), |value| value.get_mut(1)).unwrap_err();
        let part = RwLockWriteGuard::map(whole, |value| &mut value[..]);
        let part = MappedRwLockWriteGuard::filter_map(part, |part| part.get_mut(1)).unwrap_err();
        assert!(lock.try_read().is_err());
        drop(MappedRwLockWriteGuard::filter_map(part, |part| part.first_mut()).unwrap());
        assert!(lock.try_read().is_ok());
    });
}

#[test]
fn a_panic_with_a_mapped_guard_poisons_as_with_a_whole_one() {
    tidy(1, || {
        let mutex = Mutex::new((1, 2));
        panics(|| {
            let _part = MutexGuard::map(mutex.lock().unwrap(), |pair| &mut pair.0);
            panic!("while it is held");
        });
        assert!(mutex.is_poisoned());
        mutex.clear_poison();
        // In the closure itself.
        panics(|| drop(MutexGuard::map::<u8>(mutex.lock().unwrap(), |_| panic!("no part"))));
        assert!(mutex.is_poisoned() && mutex.lock().is_err());
        mutex.clear_poison();
        panics(|| {
            let part = MutexGuard::map(mutex.lock().unwrap(), |pair| &mut pair.0);
            drop(MappedMutexGuard::map::<u8>(part, |_| panic!("no part")));
        });
        assert!(mutex.is_poisoned());

        let lock = RwLock::new((1, 2));
        panics(|| {
            let _part = RwLockReadGuard::map(lock.read().unwrap(), |pair| &pair.0);
            panic!("while it is read");
        });
        assert!(!lock.is_poisoned() && lock.try_write().is_ok());
        panics(|| {
            let part = RwLockWriteGuard::map(lock.write().unwrap(), |pair| &mut pair.0);
            drop(MappedRwLockWriteGuard::map::<u8>(part, |_| panic!("no part")));
        });
        assert!(lock.is_poisoned() && lock.read().is_err());
    });
}

#[test]
fn a_guard_that_was_taken_while_a_panic_unwinds_does_not_poison() {
    tidy(1, || {
        struct Takes<'a>(&'a Mutex<(u8, u8)>);
        impl Drop for Takes<'_> {
            fn drop(&mut self) {
                *MutexGuard::map(self.0.lock().unwrap(), |pair| &mut pair.0) += 1;
            }
        }
        let mutex = Mutex::new((1, 2));
        panics(|| {
            let _takes = Takes(&mutex);
            panic!("on the way");
        });
        assert!(!mutex.is_poisoned());
        assert_eq!(mutex.into_inner().unwrap(), (2, 2));
    });
}

#[test]
fn readers_of_parts_read_at_the_same_time() {
    tidy(1, || {
        let lock = RwLock::new((1, [2, 3]));
        let one = RwLockReadGuard::map(lock.read().unwrap(), |value| &value.0);
        let two = MappedRwLockReadGuard::map(RwLockReadGuard::map(lock.read().unwrap(), |value| &value.1), |a| &a[1]);
        assert_eq!((*one, *two), (1, 3));
        assert!(lock.try_write().is_err());
        drop((one, two));
        let mut part = RwLockWriteGuard::map(lock.write().unwrap(), |value| &mut value.1[..]);
        part[0] = 9;
        assert!(lock.try_read().is_err());
        drop(part);
        assert_eq!(lock.read().unwrap().1, [9, 3]);
    });
}

#[test]
fn waiters_are_woken_by_a_mapped_guard() {
    shaken(4, || {
        let (mutex, lock) = (Arc::new(Mutex::new([0; 2])), Arc::new(RwLock::new([0; 2])));
        let gs: Vec<_> = (0..8)
            .map(|i| {
                let (mutex, lock) = (mutex.clone(), lock.clone());
                go(move || {
                    for _ in 0..300 {
                        *MutexGuard::map(mutex.lock().unwrap(), |pair| &mut pair[i % 2]) += 1;
                        *RwLockWriteGuard::map(lock.write().unwrap(), |pair| &mut pair[i % 2]) += 1;
                        assert!(*RwLockReadGuard::map(lock.read().unwrap(), |pair| &pair[i % 2]) > 0);
                    }
                })
            })
            .collect();
        gs.into_iter().for_each(|g| g.join().unwrap());
        assert_eq!((*mutex.lock().unwrap(), *lock.read().unwrap()), ([1_200; 2], [1_200; 2]));
    });
}
