package kubebyon_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// TestEveryPackageLooksForLeaks: a goroutine that outlives the tests of its
// package outlives its caller in production too.
func TestEveryPackageLooksForLeaks(t *testing.T) {
	t.Parallel()
	packages := testFiles(t, ".")
	for dir, files := range packages {
		if !looksForLeaks(files) {
			t.Errorf("the tests of %s do not look for goroutines left over: add a TestMain with goleak.VerifyTestMain", dir)
		}
	}
	t.Logf("%d packages have tests", len(packages))
}

func TestAPackageThatDoesNotLookForLeaksIsSeen(t *testing.T) {
	t.Parallel()
	const a, b = "func TestA(t *testing.T) {}", "func TestMain(m *testing.M) { os.Exit(m.Run()) }"
	for text, want := range map[string]bool{
		a:            false,
		a + "\n" + b: false,
		a + "\nfunc TestMain(m *testing.M) { goleak.VerifyTestMain(m) }":                                          true,
		a + "\nfunc TestMain(m *testing.M) {\n\tcode := m.Run()\n\tif err := goleak.Find(); err != nil {\n\t}\n}": true,
		a + "\n// goleak.VerifyTestMain(m) is for others.":                                                        false,
		a + "\nfunc TestB(t *testing.T) { goleak.Find() }":                                                        false,
		"func helper() {}":     true,
		"func Testify() {}":    true,
		"func ExampleX() {}":   false,
		"func FuzzX() {}":      false,
		"func BenchmarkX() {}": false,
	} {
		if got := looksForLeaks([]string{text}); got != want {
			t.Errorf("%v for\n%s", got, text)
		}
	}
}

var (
	testFunction = regexp.MustCompile(`(?m)^func (Test|Fuzz|Benchmark|Example)([^a-z]|\()`)
	leakCheck    = regexp.MustCompile(`(?m)^[^/\n]*\bgoleak\.(VerifyTestMain|Find)\(`)
)

// looksForLeaks takes the texts of one folder's test files.
func looksForLeaks(files []string) bool {
	tests, mains, checks := false, false, false
	for _, text := range files {
		tests = tests || testFunction.MatchString(text)
		mains = mains || strings.Contains(text, "\nfunc TestMain(")
		checks = checks || leakCheck.MatchString(text)
	}
	return !tests || mains && checks
}

// testFiles reads every test file of every module here, by folder.
func testFiles(t *testing.T, root string) map[string][]string {
	t.Helper()
	out := map[string][]string{}
	err := filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if base := d.Name(); d.IsDir() && p != root && (base == "testdata" || base == "node_modules" || strings.HasPrefix(base, ".")) {
			return filepath.SkipDir
		}
		if d.IsDir() || !strings.HasSuffix(p, "_test.go") {
			return nil
		}
		text, err := os.ReadFile(p)
		out[filepath.Dir(p)] = append(out[filepath.Dir(p)], string(text))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(out) == 0 {
		t.Fatalf("no test file found below %s: the rule was held to nothing", root)
	}
	return out
}
