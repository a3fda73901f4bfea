package acceptance

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// BenchmarkTenant says how long a tenant takes from the start of its process to each stage, on a
// new directory and on one it knows, with the disk waited for, and what it uses once it rests:
//
//	go test ./acceptance -run '^$' -bench Tenant -benchtime 3x
func BenchmarkTenant(b *testing.B) {
	dir, port := filepath.Join(b.TempDir(), "plane"), freePort(b)
	args := []string{"tenant", "--dir", dir, "--port", strconv.Itoa(port)}
	for name, prepare := range map[string]func(){
		"New":     func() { os.RemoveAll(dir) },
		"Restart": func() {},
	} {
		b.Run(name, func(b *testing.B) {
			total := map[string]float64{}
			for b.Loop() {
				prepare()
				p := launch(b, nil, args...)
				p.await(b, "ready")
				for _, l := range p.lines {
					total[l.Stage+"-ms"] += float64(l.ElapsedMS)
				}
				total["cpu-to-ready-ms"] += cpu(b, p)
				time.Sleep(8 * time.Second) // it gives memory back after its start
				total["rss-MB"] += rss(b, p, "VmRSS")
				total["rss-own-MB"] += rss(b, p, "RssAnon")
				before := cpu(b, p)
				time.Sleep(10 * time.Second)
				total["idle-cpu-ms/s"] += (cpu(b, p) - before) / 10
				p.stop(b)
			}
			for metric, sum := range total {
				b.ReportMetric(sum/float64(b.N), metric)
			}
		})
	}
}

// BenchmarkNode says how long a node takes to join, from the start of its process.
func BenchmarkNode(b *testing.B) {
	plane := shared.get(b)
	total, n := map[string]float64{}, 0
	for b.Loop() {
		n++
		p, _, _ := newNode(b, plane, "bench-"+strconv.Itoa(n)+"-"+randomToken().id)
		for _, l := range p.lines {
			total[l.Stage+"-ms"] += float64(l.ElapsedMS)
		}
		total["rss-own-MB"] += rss(b, p, "RssAnon")
		p.stop(b)
	}
	for metric, sum := range total {
		b.ReportMetric(sum/float64(n), metric)
	}
}

func rss(b *testing.B, p *process, field string) float64 {
	b.Helper()
	for line := range strings.Lines(proc(b, p, "status")) {
		if rest, ok := strings.CutPrefix(line, field+":"); ok {
			kilobytes, _ := strconv.ParseFloat(strings.Fields(rest)[0], 64)
			return kilobytes / 1024
		}
	}
	return 0
}

// cpu is the processor time used so far, in milliseconds.
func cpu(b *testing.B, p *process) float64 {
	b.Helper()
	stat := proc(b, p, "stat")
	fields := strings.Fields(stat[strings.LastIndexByte(stat, ')')+1:])
	user, _ := strconv.ParseFloat(fields[11], 64)
	system, _ := strconv.ParseFloat(fields[12], 64)
	return (user + system) * 10
}

func proc(b *testing.B, p *process, name string) string {
	b.Helper()
	content, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(p.cmd.Process.Pid), name))
	if err != nil {
		b.Fatal(err)
	}
	return string(content)
}
