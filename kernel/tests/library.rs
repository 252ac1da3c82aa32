//! `std`'s paths, maps, floats, random numbers and date.
#![no_std]
#![no_main]

#[path = "library/dates.rs"]
mod dates;
#[path = "library/maps.rs"]
mod maps;
#[path = "library/numbers.rs"]
mod numbers;
#[path = "library/paths.rs"]
mod paths;
mod support;

use dates::*;
use maps::*;
use numbers::*;
use paths::*;

image! {
    the_date_is_that_of_the_real_time_clock:
        "smp 1,2,4 | qemu -rtc base=2026-01-02T03:04:05",
        "smp 1,2 | machine pc | qemu -rtc base=2026-01-02T03:04:05",
        "smp 1,2 | machine microvm | qemu -rtc base=2026-01-02T03:04:05";
    the_date_goes_on_with_the_clock;
    many_read_the_real_time_clock_at_once;
    a_date_before_an_update_is_whole: "smp 1,2,4 | qemu -rtc base=2027-12-31T23:59:57 | timeout 60";
    a_machine_without_a_clock_says_so: "smp 1 | machine microvm,rtc=off";
    a_date_that_nobody_knows_panics:
        "smp 1 | machine microvm,rtc=off | exit 1 | expect no time of day: the machine has no real-time clock";
    dates_count_as_in_std: "smp 1";
    maps_and_sets_are_those_of_std: "smp 1";
    goroutines_share_a_map;
    a_seed_repeats_the_order_of_a_map: "smp 1,2,4 | append seed=7";
    without_an_option_the_seed_is_drawn: "smp 1";
    floats_have_their_functions: "smp 1";
    a_seed_repeats_the_numbers: "smp 1,2,4 | append seed=7";
    each_goroutine_has_numbers_of_its_own;
    std_paths_lead_to_the_same_items: "smp 1";
}
