package joinscript_test

import (
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/kubebyon/kubebyon/adapters/httpapi/joinscript"
)

func TestUnrenderedScriptSaysSo(t *testing.T) {
	t.Parallel()
	m := newMachine(t, shells(t)[0])
	m.run(m.read("join.sh")).says(t, 1, "was not made for a cluster")
}

// A download that breaks off anywhere must run nothing. Every command that a
// shell could find is a stub that leaves a note.
func TestTruncatedScriptRunsNothing(t *testing.T) {
	t.Parallel()
	script := render(t, params())
	var refusal strings.Builder
	if err := joinscript.Refusal(&refusal, "token_used", "Used."); err != nil {
		t.Fatal(err)
	}
	cuts := map[int]bool{}
	for i := range script {
		last := len(script) - i
		if i < 200 || last < 600 || script[i] == '\n' || i%101 == 0 {
			cuts[i] = true
		}
	}
	for _, sh := range shells(t) {
		t.Run(strings.ReplaceAll(sh, "/", "_"), func(t *testing.T) {
			t.Parallel()
			m := newMachine(t, sh)
			for _, name := range append(slices.Clone(harmless), "m", "ma", "mai", "e", "ex", "exi", "printf", "echo") {
				_ = os.Remove(m.bin + "/" + name)
				m.stub(name, ":")
			}
			before := m.files()
			for cut := range cuts {
				if strings.Contains(sh, "dash") || cut%37 == 0 || cut > len(script)-100 {
					m.runsNothing(script[:cut], cut)
				}
			}
			for cut := range refusal.Len() - 1 {
				m.runsNothing(refusal.String()[:cut], cut)
			}
			if after := m.files(); !slices.Equal(before, after) {
				t.Errorf("files were made: %v", after)
			}
			if calls := m.read(m.notes + "/calls"); calls != "" {
				t.Errorf("commands ran:\n%s", calls)
			}
		})
	}
}

func (m *machine) runsNothing(part string, cut int) {
	m.t.Helper()
	if strings.HasSuffix(part, "\n}") {
		if strings.HasPrefix(strings.TrimPrefix(part[strings.LastIndex(part[:len(part)-2], "\n"):], "\n"), "exit") {
			return // only the last new line is missing: the script is whole
		}
	}
	cmd := run(m.shell, part)
	cmd.Env = []string{"PATH=" + m.bin, "KUBEBYON_ROOT=" + m.root, "HOME=" + m.root + "/home"}
	said, _ := cmd.CombinedOutput()
	if strings.Contains(string(said), "Stopped:") || strings.Contains(string(said), "[1/") {
		m.t.Errorf("cut at %d, the script ran: %s", cut, said)
	}
}
