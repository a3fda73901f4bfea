package main_test

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestTheREADMEListsEveryVariable that the server or its worker reads, which of
// them does, and no other.
func TestTheREADMEListsEveryVariable(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, table, _ := strings.Cut(string(text), "\n### The variables of `serve`")
	table, _, _ = strings.Cut(table, "\n### ")
	one := regexp.MustCompile("`(KUBEBYON_[A-Z_]+)`")
	readers := map[string]string{}
	for line := range strings.Lines(table) {
		names, _, isRow := strings.Cut(strings.TrimPrefix(line, "| "), " | ")
		for _, m := range one.FindAllStringSubmatch(names, -1) {
			if !isRow || readers[m[1]] != "" {
				t.Errorf("%s is there twice, or outside the table", m[1])
			}
			switch {
			case m[1] == "KUBEBYON_HEALTH_ADDR":
				readers[m[1]] = "worker"
			case strings.HasSuffix(names, " W"):
				readers[m[1]] = "server worker"
			default:
				readers[m[1]] = "server"
			}
		}
	}
	if diff := cmp.Diff(variables(t), readers); diff != "" {
		t.Errorf("what the programs read (-), what the README says (+):\n%s", diff)
	}
}

// variables are those that the programs' help has, with who reads them.
func variables(t *testing.T) map[string]string {
	t.Helper()
	found := regexp.MustCompile(`\[(KUBEBYON_[A-Z_]+)\]`)
	readers := map[string]string{}
	for _, p := range []struct{ name, program, command string }{{"server", program, "serve"}, {"worker", workerProgram, ""}} {
		run := newSite(t).run(p.program, append(strings.Fields(p.command), "--help")...)
		if err := <-run.exited; err != nil {
			t.Error(err)
		}
		run.done = true
		for _, m := range found.FindAllStringSubmatch(run.log.tail(), -1) {
			if names := strings.Fields(readers[m[1]]); !slices.Contains(names, p.name) {
				readers[m[1]] = strings.Join(append(names, p.name), " ")
			}
		}
	}
	return readers
}
