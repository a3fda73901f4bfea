package deploy_test

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	sigsyaml "sigs.k8s.io/yaml"
)

func read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// stage is one of a Dockerfile.
type stage struct {
	name, from string
	lines      []string
}

func (s stage) all(instruction string) (out []string) {
	for _, line := range s.lines {
		if rest, ok := strings.CutPrefix(line, instruction+" "); ok {
			out = append(out, strings.TrimSpace(rest))
		}
	}
	return out
}

func stages(t *testing.T) (out []stage) {
	t.Helper()
	text := regexp.MustCompile(`(?m)^\s*#.*\n`).ReplaceAllString(read(t, "Dockerfile"), "")
	text = strings.ReplaceAll(text, "\\\n", " ")
	from := regexp.MustCompile(`^FROM (?:--platform=\S+ )?(\S+) AS (\S+)$`)
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if m := from.FindStringSubmatch(line); m != nil {
			out = append(out, stage{name: m[2], from: m[1]})
		} else if strings.HasPrefix(line, "FROM") || line != "" && len(out) == 0 {
			t.Fatalf("Dockerfile: %q", line)
		} else if line != "" {
			out[len(out)-1].lines = append(out[len(out)-1].lines, line)
		}
	}
	return out
}

func stageNamed(t *testing.T, name string) stage {
	t.Helper()
	for _, s := range stages(t) {
		if s.name == name {
			return s
		}
	}
	t.Fatalf("the Dockerfile has no stage %s", name)
	return stage{}
}

var goBuild = regexp.MustCompile(`go build (.*)-o (\S+) (\./\S+)$`)

// TestTheImagesHoldThePrograms: there is no Docker where this runs. What is built,
// copied and started has to be the same file, of a program that is there, with
// the variables that the linker sets.
func TestTheImagesHoldThePrograms(t *testing.T) {
	t.Parallel()
	built := map[string]string{}
	for _, run := range stageNamed(t, "build").all("RUN") {
		if m := goBuild.FindStringSubmatch(run); m != nil {
			built[m[2]] = m[3]
			for _, name := range regexp.MustCompile(`-X main\.(\w+)=`).FindAllStringSubmatch(m[1], -1) {
				main := read(t, filepath.Join("..", m[3], "main.go"))
				if !regexp.MustCompile(`(?m)^\s*(var )?` + name[1] + `\s+=`).MatchString(main) {
					t.Errorf("%s has no variable %s for the linker to set", m[3], name[1])
				}
			}
		}
	}
	makefile := read(t, "../Makefile")
	for target, program := range map[string]string{"server": "kubebyon", "worker": "kubebyon-worker"} {
		s := stageNamed(t, target)
		var entry []string
		if err := json.Unmarshal([]byte(s.all("ENTRYPOINT")[0]), &entry); err != nil {
			t.Fatalf("%s: %v", target, err)
		}
		copied := strings.Fields(s.all("COPY")[0])
		if built[copied[1]] != "./cmd/"+program || copied[2] != entry[0] || filepath.Base(entry[0]) != program {
			t.Errorf("%s starts %s, copies %s, which is built from %q", target, entry, copied[1:], built[copied[1]])
		}
		if !strings.Contains(makefile, "bin/"+program+" ") {
			t.Errorf("the Makefile builds no %s", program)
		}
	}
	if got := stageNamed(t, "base").all("USER"); !slices.Equal(got, []string{"65532:65532"}) {
		t.Errorf("the images run as %s", got)
	}
	if all := stages(t); all[len(all)-1].name != "server" {
		t.Errorf("a build without a target makes %s", all[len(all)-1].name)
	}
}

// TestTheCompilerIsTheOneOfTheModule: an older one refuses go.mod, since it may
// not fetch another.
func TestTheCompilerIsTheOneOfTheModule(t *testing.T) {
	t.Parallel()
	want := regexp.MustCompile(`(?m)^go (\d+\.\d+)`).FindStringSubmatch(read(t, "../go.mod"))[1]
	if from := stageNamed(t, "build").from; !regexp.MustCompile(`^golang:` + regexp.QuoteMeta(want) + `\.\d+-`).MatchString(from) {
		t.Errorf("built with %s, want a release of Go %s by its full number", from, want)
	}
}

// TestTheImagesAreBuiltFromAllThatTheyNeed holds the list of what Docker may see
// to what the programs import.
func TestTheImagesAreBuiltFromAllThatTheyNeed(t *testing.T) {
	t.Parallel()
	cmd := exec.CommandContext(t.Context(), "go", "list", "-deps", "-f", "{{if .Module}}{{if .Module.Main}}{{.Dir}}{{range .EmbedFiles}} {{.}}{{end}}{{end}}{{end}}", "./cmd/kubebyon", "./cmd/kubebyon-worker")
	cmd.Dir, cmd.Stderr = "..", os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	top, _ := filepath.Abs("..")
	seen := read(t, "Dockerfile.dockerignore")
	for line := range strings.Lines(string(out)) {
		fields := strings.Fields(line)
		if len(fields) == 0 {
			continue
		}
		path, _ := filepath.Rel(top, fields[0])
		first, _, _ := strings.Cut(filepath.ToSlash(path), "/")
		if !strings.Contains(seen, "\n!"+first+"\n") {
			t.Errorf("the programs need %s, which Docker may not see", path)
		}
		for _, file := range fields[1:] {
			if strings.Contains(file, "testdata/") || strings.HasSuffix(file, "_test.go") {
				t.Errorf("%s embeds %s, which Docker may not see", path, file)
			}
		}
	}
}

// compose is as much of a compose file as is judged here.
type compose struct {
	Services map[string]struct {
		Image       string
		Build       *struct{ Context, Dockerfile, Target string }
		Environment map[string]string
		Secrets     []any
		Volumes     []string
		ReadOnly    bool                                  `json:"read_only"`
		CapDrop     []string                              `json:"cap_drop"`
		DependsOn   map[string]struct{ Condition string } `json:"depends_on"`
		Healthcheck *struct{ Test []string }
	}
	Volumes map[string]any
	Secrets map[string]struct{ File string }
}

// composed reads compose.yaml with its merge keys resolved.
func composed(t *testing.T) (c compose) {
	t.Helper()
	if err := sigsyaml.Unmarshal([]byte(read(t, "compose.yaml")), &c); err != nil {
		t.Fatal(err)
	}
	return c
}

func secretName(v any) string {
	if table, ok := v.(map[string]any); ok {
		return table["source"].(string)
	}
	return v.(string)
}

func TestTheComposeFileRefersToWhatIsThere(t *testing.T) {
	t.Parallel()
	c := composed(t)
	for _, want := range []string{"postgres", "rabbitmq", "server", "worker"} {
		if _, ok := c.Services[want]; !ok {
			t.Errorf("there is no service %s", want)
		}
	}
	for name, s := range c.Services {
		for other, on := range s.DependsOn {
			if on.Condition == "service_healthy" && c.Services[other].Healthcheck == nil {
				t.Errorf("%s waits until %s is healthy, which nobody checks", name, other)
			}
		}
		for _, v := range s.Secrets {
			if _, ok := c.Secrets[secretName(v)]; !ok {
				t.Errorf("%s wants the secret %s, which is not declared", name, secretName(v))
			}
		}
		for _, v := range s.Volumes {
			volume, _, _ := strings.Cut(v, ":")
			if _, ok := c.Volumes[volume]; !ok {
				t.Errorf("%s wants the volume %s, which is not declared", name, volume)
			}
		}
		for variable, value := range s.Environment {
			file, isSecret := strings.CutPrefix(value, "/run/secrets/")
			if isSecret && !slices.ContainsFunc(s.Secrets, func(v any) bool { return secretName(v) == file }) {
				t.Errorf("%s: %s names the secret %s, which it is not given", name, variable, file)
			}
			if regexp.MustCompile(`PASSWORD|SECRET_KEY|_URL`).MatchString(variable) && !strings.HasSuffix(variable, "_FILE") && variable != "KUBEBYON_PUBLIC_BASE_URL" {
				t.Errorf("%s: %s is a secret in a variable", name, variable)
			}
		}
		if s.Build == nil {
			continue
		}
		stageNamed(t, s.Build.Target)
		if _, err := os.Stat(filepath.Join(s.Build.Context, s.Build.Dockerfile)); err != nil {
			t.Error(err)
		}
		if !s.ReadOnly || !slices.Equal(s.CapDrop, []string{"ALL"}) || len(s.DependsOn) != 2 {
			t.Errorf("%s is not confined, or does not wait: %+v", name, s)
		}
	}
}

// TestNoPasswordIsMadeOfNothing: what is there is kept, an empty one too.
func TestNoPasswordIsMadeOfNothing(t *testing.T) {
	t.Parallel()
	for name, openssl := range map[string]string{
		"is not there": "", "gives nothing": "#!/bin/sh\n", "fails": "#!/bin/sh\nexit 1\n",
		"fails for RabbitMQ": "#!/bin/sh\n[ -e \"$KUBEBYON_SECRETS_DIR/database-url\" ] || echo something\n",
	} {
		t.Run("openssl "+name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			for _, tool := range []string{"cat", "chmod", "dirname", "mkdir", "mv", "rm", "sed"} {
				path, err := exec.LookPath(tool)
				if err != nil {
					t.Fatal(err)
				}
				if err := os.Symlink(path, filepath.Join(dir, tool)); err != nil {
					t.Fatal(err)
				}
			}
			if openssl != "" {
				if err := os.WriteFile(filepath.Join(dir, "openssl"), []byte(openssl), 0o700); err != nil {
					t.Fatal(err)
				}
			}
			secrets := filepath.Join(dir, "secrets")
			cmd := exec.CommandContext(t.Context(), "./make-secrets.sh", "image_test.go")
			cmd.Env = []string{"PATH=" + dir, "KUBEBYON_SECRETS_DIR=" + secrets}
			said, err := cmd.CombinedOutput()
			if err == nil || !strings.Contains(string(said), "openssl") {
				t.Errorf("the script says %q, %v", said, err)
			}
			for _, secret := range []string{"rabbitmq.conf", "amqp-url", "kubeconfig"} {
				if _, err := os.Stat(filepath.Join(secrets, secret)); err == nil {
					t.Errorf("%s was made", secret)
				}
			}
			for _, secret := range []string{"postgres-password", "admin-password", "secret-key"} {
				if text, err := os.ReadFile(filepath.Join(secrets, secret)); err == nil && len(text) == 0 {
					t.Errorf("%s is empty", secret)
				}
			}
		})
	}
}

// TestTheSecretsOfTheComposeFileAreMadeOnce runs the script as people do.
func TestTheSecretsOfTheComposeFileAreMadeOnce(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	kubeconfig := filepath.Join(dir, "mine")
	if err := os.WriteFile(kubeconfig, []byte("kind: Config\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	run := func(args ...string) error {
		cmd := exec.CommandContext(t.Context(), "./make-secrets.sh", args...)
		cmd.Env = append(os.Environ(), "KUBEBYON_SECRETS_DIR="+filepath.Join(dir, "secrets"))
		return cmd.Run()
	}
	if err := run(); err == nil {
		t.Error("without a kubeconfig nothing can run, and nobody said so")
	}
	if err := run(kubeconfig); err != nil {
		t.Fatal(err)
	}
	made := map[string]string{}
	for name, secret := range composed(t).Secrets {
		file := filepath.Join(dir, strings.TrimPrefix(secret.File, "./"))
		made[name] = read(t, file)
		if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o444 {
			t.Errorf("%s: containers run as other users and cannot read it: %v %v", name, info.Mode(), err)
		}
	}
	if info, err := os.Stat(filepath.Join(dir, "secrets")); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("everybody may look into the folder: %v %v", info.Mode(), err)
	}
	for url, password := range map[string]string{
		"database-url": strings.TrimSpace(made["postgres-password"]),
		"amqp-url":     strings.TrimSpace(made["rabbitmq.conf"][strings.LastIndex(made["rabbitmq.conf"], " ")+1:]),
	} {
		if len(password) != 48 || !strings.Contains(made[url], "kubebyon:"+password+"@") {
			t.Errorf("%s does not hold the password that the service has", url)
		}
	}
	if err := os.WriteFile(kubeconfig, []byte("kind: Config # another\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := run(kubeconfig); err != nil {
		t.Fatal(err)
	}
	for name, before := range made {
		after := read(t, filepath.Join(dir, "secrets", name))
		if (after == before) != (name != "kubeconfig") {
			t.Errorf("%s, after another run: changed %v", name, after != before)
		}
	}
}
