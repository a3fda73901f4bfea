package app_test

import (
	"database/sql"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// processors is the processor time that each part has used so far. Unlike rates it
// hardly depends on what else a machine does.
type processors map[string]time.Duration

// processors asks the system for that of this process, of the database's processes that
// serve the site, and of the brokers of this machine. What is elsewhere is left
// out.
func (s *jobSite) processors(tb testing.TB) processors {
	tb.Helper()
	used := processors{"go": processorTime(strconv.Itoa(os.Getpid()))}
	db, err := sql.Open("pgx", s.url)
	must(tb, err)
	defer db.Close()
	var pids string
	must(tb, db.QueryRowContext(tb.Context(), "SELECT coalesce(string_agg(pid::text, ' '), '') FROM pg_stat_activity WHERE application_name = 'jobs-bench'").Scan(&pids))
	for pid := range strings.FieldsSeq(pids) {
		used["postgres"] += processorTime(pid)
	}
	names, err := filepath.Glob("/proc/[0-9]*/comm")
	must(tb, err)
	for _, name := range names {
		if comm, err := os.ReadFile(name); err == nil && string(comm) == "beam.smp\n" { // it may have ended meanwhile
			used["rabbitmq"] += processorTime(filepath.Base(filepath.Dir(name)))
		}
	}
	return used
}

// processorTime reads /proc/PID/stat, see proc(5); none of a process that is not here.
func processorTime(pid string) time.Duration {
	const utime, stime, tick = 13, 14, time.Second / 100
	stat, err := os.ReadFile("/proc/" + pid + "/stat")
	if err != nil {
		return 0
	}
	_, rest, _ := strings.Cut(string(stat), ") ") // the second field is a name, which may hold anything
	fields := strings.Fields(rest)
	if len(fields) <= stime-2 {
		return 0
	}
	user, _ := strconv.Atoi(fields[utime-2])
	system, _ := strconv.Atoi(fields[stime-2])
	return time.Duration(user+system) * tick
}

// report tells how much each part has used for a job since before.
func (s *jobSite) report(b *testing.B, before processors, jobs int) {
	b.Helper()
	for part, used := range s.processors(b) {
		if each := (used - before[part]).Seconds() * 1000 / float64(jobs); each > 0 {
			b.ReportMetric(each, part+"-ms/job")
			b.Logf("%s: %.2f ms of processor time a job", part, each)
		}
	}
}
