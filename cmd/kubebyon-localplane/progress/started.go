package progress

import (
	"bytes"
	"os"
	"strconv"
	"strings"
	"time"
)

// ticksPerSecond is what Linux counts process start times in, on every architecture Go runs on.
const ticksPerSecond = 100

// ProcessStart is when the kernel started this process. The Kubernetes packages spend part of a
// second initialising before main runs, which counted from main would not show.
func ProcessStart(now time.Time) time.Time {
	uptime, ok := uptime()
	ticks, ok2 := startTicks()
	if !ok || !ok2 {
		return now
	}
	age := uptime - time.Duration(ticks)*time.Second/ticksPerSecond
	return now.Add(-max(age, 0))
}

func uptime() (time.Duration, bool) {
	text, err := os.ReadFile("/proc/uptime")
	if err != nil {
		return 0, false
	}
	first, _, _ := strings.Cut(string(text), " ")
	seconds, err := strconv.ParseFloat(first, 64)
	return time.Duration(seconds * float64(time.Second)), err == nil
}

func startTicks() (int64, bool) {
	text, err := os.ReadFile("/proc/self/stat")
	if err != nil {
		return 0, false
	}
	// The program's name, in parentheses, may hold spaces: count from its end.
	fields := bytes.Fields(text[bytes.LastIndexByte(text, ')')+1:])
	const start = 22 - 3
	if len(fields) <= start {
		return 0, false
	}
	ticks, err := strconv.ParseInt(string(fields[start]), 10, 64)
	return ticks, err == nil
}
