package main

import (
	"sync"
	"time"
)

func node(up chan int, first, leaves int) {
	if leaves == 1 {
		up <- first
		return
	}
	c := make(chan int)
	for child := range 10 {
		go node(c, first+child*(leaves/10), leaves/10)
	}
	sum := 0
	for range 10 {
		sum += <-c
	}
	up <- sum
}

// A tree of goroutines, ten children to a node: every leaf sends its number
// up, every node the sum of its children.
func skynet(leaves int) took {
	begin := time.Now()
	c := make(chan int)
	go node(c, 0, leaves)
	sum := <-c
	took := since(begin)
	check(sum == leaves*(leaves-1)/2)
	return took
}

// A number goes round 503 goroutines and is one less after each, until it is 0.
func ring(hops int) took {
	const members = 503
	begin := time.Now()
	done := make(chan int, 1)
	first := make(chan int)
	in := first
	for i := 1; i <= members; i++ {
		out := first
		if i != members {
			out = make(chan int)
		}
		from := in
		go func() {
			for n := range from {
				if n == 0 {
					done <- i
					return
				}
				out <- n - 1
			}
		}()
		in = out
	}
	first <- hops
	last := <-done
	took := since(begin)
	check(last == hops%members+1)
	return took
}

// The first 2,000 primes: a goroutine a prime, which lets through what that
// prime does not divide.
func sieve() took {
	begin := time.Now()
	c := make(chan int)
	go func() {
		for i := 2; ; i++ {
			c <- i
		}
	}()
	last, sum := 0, 0
	in := c
	for range 2000 {
		last = <-in
		sum += last
		unsifted, sifted, prime := in, make(chan int), last
		go func() {
			for i := range unsifted {
				if i%prime != 0 {
					sifted <- i
				}
			}
		}()
		in = sifted
	}
	took := since(begin)
	check(last == 17_389 && sum == 16_274_627)
	return took
}

// One goroutine sends numbers to 100 that receive them from the same channel.
func consumers(capacity, values int) took {
	begin := time.Now()
	c := make(chan int, capacity)
	type result struct{ count, sum, last int }
	results := make([]result, 100)
	var all sync.WaitGroup
	for i := range results {
		all.Go(func() {
			var r result
			for value := range c {
				check(value > r.last || r.count == 0) // values come in order
				r.count++
				r.sum += value
				r.last = value
			}
			results[i] = r
		})
	}
	for value := range values {
		c <- value
	}
	close(c)
	all.Wait()
	took := since(begin)
	count, sum := 0, 0
	for _, r := range results {
		count += r.count
		sum += r.sum
	}
	check(count == values && sum == values*(values-1)/2)
	return took
}

// One goroutine receives from eight others, whichever is ready.
func selectOf8(values int) took {
	var c [8]chan int
	begin := time.Now()
	for i := range c {
		sender := make(chan int)
		c[i] = sender
		go func() {
			for value := range values / 8 {
				sender <- value
			}
		}()
	}
	sum := 0
	for range values {
		var value int
		select {
		case value = <-c[0]:
		case value = <-c[1]:
		case value = <-c[2]:
		case value = <-c[3]:
		case value = <-c[4]:
		case value = <-c[5]:
		case value = <-c[6]:
		case value = <-c[7]:
		}
		sum += value
	}
	took := since(begin)
	check(sum == values*(values/8-1)/2)
	return took
}

// Numbers pass through eight goroutines in a row, each of which adds 1.
func pipe(capacity, values int) took {
	const stages = 8
	begin := time.Now()
	source := make(chan int, capacity)
	go func() {
		for value := range values {
			source <- value
		}
		close(source)
	}()
	last := source
	for range stages {
		in, out := last, make(chan int, capacity)
		go func() {
			for value := range in {
				out <- value + 1
			}
			close(out)
		}()
		last = out
	}
	sum := 0
	for value := range last {
		sum += value
	}
	took := since(begin)
	check(sum == values*(values-1)/2+stages*values)
	return took
}
