package kubebyon_test

import (
	"fmt"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// asvs counts the requirements of levels 1 and 2 in each section of the chapters
// of OWASP ASVS 5.0.0 that SECURITY.md answers. Each section numbers them from 1.
const asvs = `
1.1:2 1.2:9 1.3:11 1.4:3 1.5:2
2.1:3 2.2:3 2.3:4 2.4:1
6.1:3 6.2:12 6.3:4 6.4:4 6.5:5 6.6:3 6.8:4
7.1:3 7.2:4 7.3:2 7.4:5 7.5:2 7.6:2
8.1:2 8.2:3 8.3:1 8.4:1
9.1:3 9.2:4
10.1:2 10.2:2 10.3:4 10.4:11 10.5:5 10.6:2 10.7:3
11.1:2 11.2:3 11.3:3 11.4:4 11.5:1 11.6:1
`

// TestSECURITYNamesWhatThereIs: a table of protections is worth what it names. Only
// the names are checked: whoever changes a row reads whether its tests show it.
func TestSECURITYNamesWhatThereIs(t *testing.T) {
	t.Parallel()
	text := readSECURITY(t)
	for _, complaint := range slices.Concat(gone(t, text), unanswered(text)) {
		t.Error(complaint)
	}
	if n := len(cited.FindAllString(text, -1)); n < 100 {
		t.Errorf("only %d files and tests were found in it: the rule was held to little", n)
	}
}

func TestWhatSECURITYMayNotSayIsSeen(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"`go.mod` `core/kernel/id` `core/kernel/secret:TestNoLogShowsASecret` `.:TestMain` `/api/auth/login` `kbs_`": "",
		"`core/nowhere.go`":                      "core/nowhere.go is not there",
		"`NOWHERE.md`":                           "NOWHERE.md is not there",
		"`core/kernel/secret:TestNoLog`":         "core/kernel/secret has no TestNoLog",
		"`core/nowhere:TestNoLogShowsASecret`":   "core/nowhere has no TestNoLogShowsASecret",
		"`TestNoLogShowsASecret`":                "TestNoLogShowsASecret: say where it is",
		"`core/kernel/secret:FuzzNothing`, more": "core/kernel/secret has no FuzzNothing",
	} {
		if got := strings.Join(gone(t, text), "; "); got != want {
			t.Errorf("%s: got %q, want %q", text, got, want)
		}
	}
	whole := readSECURITY(t)
	for old, c := range map[string]struct{ with, want string }{
		"| 6.2.1 |":          {"| 6.2.13 |", "6.2.1 is not answered; 6.2.13 is answered, and there is no such requirement"},
		"| 8.3.1 |":          {"| 8.3.1, 8.4.1 |", "8.4.1 is answered twice"},
		"| 10.4.1–10.4.11 |": {"| 10.4.1–10.4.10 |", "10.4.11 is not answered"},
		"- **6.2.12** ":      {"- **6.2.10** ", "6.2.12 is not met or met in part, and not in the list of those; 6.2.10 is in the list of what is not met, and not in the tables"},
	} {
		text := strings.Replace(whole, old, c.with, 1)
		if got := strings.Join(unanswered(text), "; "); got != c.want {
			t.Errorf("with %q: got %q, want %q", c.with, got, c.want)
		}
	}
	idle := regexp.MustCompile(`(?m)^(\| 8\.3\.1 \|[^|]*\|).*$`).ReplaceAllString(whole, "$1 somehow |")
	if got := strings.Join(unanswered(idle), "; "); got != "8.3.1 says neither what meets it nor that it is not met" {
		t.Errorf("got %q", got)
	}
}

func readSECURITY(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile("SECURITY.md")
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// cited are the ways to name a file or folder, and a test in a folder: what is
// between two backquotes and holds no blank.
var (
	cited     = regexp.MustCompile("`([^`\\s]+)`")
	citedTest = regexp.MustCompile(`^([\w./-]+):((?:Test|Fuzz|Benchmark)\w+)$`)
	citedPath = regexp.MustCompile(`^[\w.-]+(/[\w.-]+)+$|^[\w.-]+\.(go|md|yml|yaml|mod)$`)
	bareTest  = regexp.MustCompile(`^(Test|Fuzz|Benchmark)[A-Z]\w*$`)
)

// gone says what text names and is not there.
func gone(t *testing.T, text string) (out []string) {
	t.Helper()
	for _, span := range cited.FindAllStringSubmatch(text, -1) {
		name := span[1]
		if test := citedTest.FindStringSubmatch(name); test != nil {
			if !hasTest(t, test[1], test[2]) {
				out = append(out, test[1]+" has no "+test[2])
			}
			continue
		}
		if bareTest.MatchString(name) {
			out = append(out, name+": say where it is")
		}
		if !citedPath.MatchString(name) {
			continue
		}
		if _, err := os.Stat(filepath.FromSlash(name)); err != nil {
			out = append(out, name+" is not there")
		}
	}
	return out
}

// hasTest looks at the tests of one folder, not of those below it.
func hasTest(t *testing.T, dir, name string) bool {
	t.Helper()
	files, err := filepath.Glob(filepath.FromSlash(path.Join(dir, "*_test.go")))
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(text), "\nfunc "+name+"(") {
			return true
		}
	}
	return false
}

var (
	answerRow = regexp.MustCompile(`(?m)^\| (\d+\.\d+\.\d+[^|]*)\|[^|]*\|(.*)\|$`)
	openItem  = regexp.MustCompile(`(?m)^- \*\*([\d., ]+)\*\* `)
	someIDs   = regexp.MustCompile(`(\d+\.\d+)\.(\d+)(?:–\d+\.\d+\.(\d+))?`)
)

// unanswered says which requirements text leaves out or answers twice, and whether
// its list of what is not met is that of its tables.
func unanswered(text string) (out []string) {
	answers, open := map[string]int{}, map[string]bool{}
	for _, row := range answerRow.FindAllStringSubmatch(text, -1) {
		how := strings.TrimSpace(row[2])
		isOpen := strings.HasPrefix(how, "not met:") || strings.HasPrefix(how, "in part:")
		says := isOpen || strings.HasPrefix(how, "does not apply:") || strings.HasPrefix(how, "this page:") || cited.MatchString(how)
		for _, id := range ids(row[1]) {
			answers[id]++
			if isOpen {
				open[id] = true
			}
			if !says {
				out = append(out, id+" says neither what meets it nor that it is not met")
			}
		}
	}
	for s := range strings.FieldsSeq(asvs) {
		section, count, _ := strings.Cut(s, ":")
		last, _ := strconv.Atoi(count)
		for n := range last {
			id := fmt.Sprintf("%s.%d", section, n+1)
			switch answers[id] {
			case 0:
				out = append(out, id+" is not answered")
			case 1:
			default:
				out = append(out, id+" is answered twice")
			}
			delete(answers, id)
		}
	}
	for id := range answers {
		out = append(out, id+" is answered, and there is no such requirement")
	}
	return append(out, unlisted(text, open)...)
}

func unlisted(text string, open map[string]bool) (out []string) {
	var listed []string
	for _, item := range openItem.FindAllStringSubmatch(text, -1) {
		listed = append(listed, ids(item[1])...)
	}
	for id := range open {
		if !slices.Contains(listed, id) {
			out = append(out, id+" is not met or met in part, and not in the list of those")
		}
	}
	for _, id := range listed {
		if !open[id] {
			out = append(out, id+" is in the list of what is not met, and not in the tables")
		}
	}
	return out
}

// ids reads "1.2.3", "1.2.3, 1.2.5" and "1.2.3–1.2.5".
func ids(text string) (out []string) {
	for _, m := range someIDs.FindAllStringSubmatch(text, -1) {
		from, _ := strconv.Atoi(m[2])
		to := from
		if m[3] != "" {
			to, _ = strconv.Atoi(m[3])
		}
		for n := from; n <= to; n++ {
			out = append(out, fmt.Sprintf("%s.%d", m[1], n))
		}
	}
	return out
}
