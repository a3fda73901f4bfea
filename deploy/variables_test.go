package deploy_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// TestEveryVariableIsAFlagOfAProgram: one that is misspelt is ignored without a
// word.
func TestEveryVariableIsAFlagOfAProgram(t *testing.T) {
	t.Parallel()
	flags := flagNames(t)
	check := func(where, variable string) {
		name, ours := strings.CutPrefix(variable, "KUBEBYON_")
		flag := strings.ToLower(strings.ReplaceAll(strings.TrimSuffix(name, "_FILE"), "_", "-"))
		if strings.HasSuffix(flag, "values") {
			flag += "-file" // the one flag that is the name of a file itself
		}
		if ours && !slices.Contains(flags, flag) {
			t.Errorf("%s sets %s, and no program has a flag --%s", where, variable, flag)
		}
	}
	for name, s := range composed(t).Services {
		for variable := range s.Environment {
			check("compose.yaml, "+name, variable)
		}
	}
	for world, text := range worlds() {
		all := mustRender(t, text)
		for _, u := range all {
			data, _, _ := unstructured.NestedStringMap(u.Object, "data")
			for variable := range data {
				check(world+", "+title(u), variable)
			}
		}
		for component, pod := range pods(t, all) {
			for _, v := range pod.Spec.Containers[0].Env {
				check(world+", "+component, v.Name)
			}
		}
	}
}

// flagNames are those of all programs, as their source has them.
func flagNames(t *testing.T) (out []string) {
	t.Helper()
	literal := regexp.MustCompile(`"([a-z]+(?:-[a-z]+)+|installation)"`)
	for _, dir := range []string{"settings", "kubebyon", "kubebyon-worker", "process"} {
		err := filepath.WalkDir(filepath.Join("../cmd", dir), func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
				return err
			}
			text, err := os.ReadFile(path)
			for _, m := range literal.FindAllSubmatch(text, -1) {
				out = append(out, string(m[1]))
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return out
}
