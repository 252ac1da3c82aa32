// Whole programs, as kernel/examples/programs has them for Trefoil.
//
// On any system, "programs NAME" runs one of them. As the first process of a
// Linux machine, it runs those that the kernel's command line names in
// programs=NAME,NAME:nogc,... one after another, each in a fresh process, and
// powers the machine off. A program that takes longer than seconds=N is killed.
//
// Each program checks its own result and prints one line that begins with
// RESULT; a program that comes to no result gets one that begins with FAILED.
package main

import (
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// took is how long a program took, from its first goroutine to its result.
type took struct {
	whole time.Duration
	// A part of it that is looked at by itself, and the part's name.
	part     time.Duration
	partName string
}

func since(begin time.Time) took {
	return took{whole: time.Since(begin)}
}

var programs = map[string]func() took{
	"pskynet":  func() took { return skynet(100_000) },
	"pring":    func() took { return ring(1_000_000) },
	"psieve":   sieve,
	"pcons0":   func() took { return consumers(0, 1_000_000) },
	"pcons128": func() took { return consumers(128, 4_000_000) },
	"pcham":    func() took { return chameneos(600_000) },
	"pmsort":   func() took { return mergesort(1_000_000) },
	"pmatmul":  matmul,
	"ptrees":   trees,
	"pwords":   words,
	"pmutex":   func() took { return mutex(2_000_000) },
	"prwlock":  func() took { return rwlock(1_000_000) },
	"pselect":  func() took { return selectOf8(1_000_000) },
	"psleep":   func() took { return sleepers(100_000) },
	"pctx":     contexts,
	"ppipe16":  func() took { return pipe(16, 1_000_000) },
	"ppipe0":   func() took { return pipe(0, 200_000) },
	"pchurn":   churn,
}

// xorshift is a step of a generator of random numbers (Marsaglia's).
func xorshift(x uint64) uint64 {
	x ^= x << 13
	x ^= x >> 7
	x ^= x << 17
	return x
}

// Where the generator starts, everywhere.
const seed = 88_172_645_463_325_252

func check(ok bool) {
	if !ok {
		panic("wrong result")
	}
}

func milliseconds(d time.Duration) float64 {
	return float64(d) / 1e6
}

// run runs one program in this process.
func run(name string) {
	program := programs[name]
	if program == nil {
		fmt.Fprintln(os.Stderr, "programs: no such program:", name)
		os.Exit(1)
	}
	gc := "on"
	if os.Getenv("GOGC") == "off" {
		gc = "off"
	}
	took := program()
	part := ""
	if took.partName != "" {
		part = fmt.Sprintf(" %s_ms=%.2f", took.partName, milliseconds(took.part))
	}
	fmt.Printf("RESULT name=%s gc=%s procs=%d t_ms=%.2f%s\n",
		name, gc, runtime.GOMAXPROCS(0), milliseconds(took.whole), part)
}

// runFresh runs one program in a process of its own, for at most limit.
func runFresh(word string, limit time.Duration) error {
	name, option, _ := strings.Cut(word, ":")
	env := []string{fmt.Sprint("GOMAXPROCS=", runtime.NumCPU())}
	if option == "nogc" {
		env = append(env, "GOGC=off")
	}
	process, err := os.StartProcess("/init", []string{"/init", name}, &os.ProcAttr{
		Env:   env,
		Files: []*os.File{os.Stdin, os.Stdout, os.Stderr},
	})
	if err != nil {
		return err
	}
	end := time.AfterFunc(limit, func() { process.Kill() })
	state, err := process.Wait()
	switch {
	case err != nil:
		return err
	case !end.Stop():
		return fmt.Errorf("took longer than %v", limit)
	case !state.Success():
		return fmt.Errorf("ended with %v", state)
	}
	return nil
}

// machine is what the first process does.
func machine() {
	os.Mkdir("/proc", 0o755)
	syscall.Mount("proc", "/proc", "proc", 0, "")
	line, err := os.ReadFile("/proc/cmdline")
	if err != nil {
		fmt.Println("FAILED", err)
	}
	limit := time.Minute
	var words []string
	for word := range strings.FieldsSeq(string(line)) {
		switch name, value, _ := strings.Cut(word, "="); name {
		case "programs":
			words = strings.Split(value, ",")
		case "seconds":
			if n, err := strconv.Atoi(value); err == nil {
				limit = time.Duration(n) * time.Second
			}
		}
	}
	for _, word := range words {
		if err := runFresh(word, limit); err != nil {
			fmt.Println("FAILED", word, err)
		}
	}
	syscall.Sync()
	fmt.Println("FAILED", syscall.Reboot(syscall.LINUX_REBOOT_CMD_POWER_OFF))
}

func main() {
	switch {
	case os.Getpid() == 1:
		machine()
	case len(os.Args) == 2:
		run(os.Args[1])
	default:
		fmt.Fprintln(os.Stderr, "usage: programs NAME")
		os.Exit(2)
	}
}
