package main_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// Whatever goes wrong with a command, it does not repeat a secret that it was
// given, in the right place or in a wrong one.
func TestCommandsRepeatNoSecret(t *testing.T) {
	t.Parallel()
	const password = "hunter2-hunter2-hunter2"
	l := newLedger()
	l.keep(databasePassword, password)
	plane := requireProgram(t, "KUBEBYON_LOCALPLANE", "kubebyon-localplane")
	home := t.TempDir()
	file := filepath.Join(home, "secret")
	write(t, file, password+"\n")
	write(t, filepath.Join(home, "url"), "postgres://u:"+password+"@127.0.0.1:1/x\n")
	at := func(url string) []string { return []string{"admin", "list", "--database-url", url} }
	rotate := func(more ...string) []string {
		return append([]string{"admin", "rotate-key", "--database-url", "sqlite:" + filepath.Join(home, "kubebyon.db")}, more...)
	}
	write(t, filepath.Join(home, "secret.key"), newKey())
	tried := 0
	for name, c := range map[string]struct {
		arguments, environment []string
		stdin, want            string
	}{
		"a database that does not answer":    {at("postgres://u:" + password + "@127.0.0.1:1/x"), nil, "", "does not answer"},
		"its password as a parameter":        {at("postgres://u@127.0.0.1:1/x?password=" + password), nil, "", "does not answer"},
		"a host that is not there":           {at("postgres://u:" + password + "@kubebyon.invalid/x"), nil, "", "does not answer"},
		"a port that is none":                {at("postgres://u:" + password + "@127.0.0.1:99999/x"), nil, "", "not valid"},
		"a host that is none":                {at("postgres://u:" + password + "@%zz/x"), nil, "", "not valid"},
		"a password that breaks the URL":     {at("postgres://u:" + password + "/@#@127.0.0.1/x"), nil, "", ""},
		"a parameter that is none":           {at("postgres://u:" + password + "@127.0.0.1/x?sslmode=" + password), nil, "", "not valid"},
		"another form":                       {at("host=127.0.0.1 password=" + password), nil, "", "not valid"},
		"half a URL":                         {at("postgres:u:" + password), nil, "", "not valid"},
		"a password alone":                   {at(password), nil, "", "not valid"},
		"from the environment":               {at("")[:2], []string{"KUBEBYON_DATABASE_URL=postgres://u:" + password + "@127.0.0.1:1/x"}, "", "does not answer"},
		"from a file":                        {at("")[:2], []string{"KUBEBYON_DATABASE_URL_FILE=" + filepath.Join(home, "url")}, "", "does not answer"},
		"a migration":                        {[]string{"migrate", "--start-timeout-seconds", "1", "--database-url", "postgres://u:" + password + "@127.0.0.1:1/x"}, nil, "", "does not answer"},
		"a server":                           {[]string{"dev"}, []string{"KUBEBYON_DATABASE_URL=postgres://u:" + password + "@127.0.0.1:1/x"}, "", "does not answer"},
		"a key that is none":                 {[]string{"dev"}, []string{"KUBEBYON_SECRET_KEY=" + password}, "", "32 random bytes"},
		"a key's file that holds none":       {[]string{"dev"}, []string{"KUBEBYON_SECRET_KEY_FILE=" + file}, "", "32 random bytes"},
		"a key as a flag":                    {[]string{"dev", "--secret-key", password}, nil, "", "32 random bytes"},
		"a new key that is none":             {rotate(), []string{"KUBEBYON_NEW_SECRET_KEY=" + password}, "", "32 random bytes"},
		"a new key as a flag":                {rotate("--new-secret-key", password), nil, "", "32 random bytes"},
		"a new key's file that holds none":   {rotate("--new-key-file", file), nil, "", "does not hold a key"},
		"a new key for a file's name":        {rotate("--new-key-file", password), nil, "", "names no file"},
		"two new keys":                       {rotate("--new-key-file", file, "--new-secret-key", password), nil, "", "give one of them"},
		"a key in use that is none":          {rotate("--secret-key", password), nil, "", "32 random bytes"},
		"a secret for a file's name":         {[]string{"dev"}, []string{"KUBEBYON_SECRET_KEY_FILE=/" + password}, "", "KUBEBYON_SECRET_KEY_FILE"},
		"a first password that is too long":  {[]string{"dev"}, []string{"KUBEBYON_ADMIN_PASSWORD=" + strings.Repeat(password, 9)}, "", "8 to 128"},
		"a new password that is too long":    {[]string{"admin", "create", "--email", "a@example.com", "--password-stdin", "--data-dir", "DATA"}, nil, strings.Repeat(password, 9), "8 to 128"},
		"a password behind a switch":         {[]string{"admin", "create", "--email", "a@example.com", "--password-stdin=" + password}, nil, "", "true or false"},
		"a switch in the environment":        {[]string{"admin", "create", "--email", "a@example.com"}, []string{"KUBEBYON_PASSWORD_STDIN=" + password}, "", "true or false"},
		"a password as an argument":          {[]string{"admin", "create", "--email", "a@example.com", password}, nil, "", "takes no arguments"},
		"a password behind a wrong letter":   {[]string{"admin", "create", "-p" + password}, nil, "", "unknown shorthand"},
		"a password behind a wrong flag":     {[]string{"admin", "create", "--password=" + password}, nil, "", "unknown flag"},
		"a password behind no flag":          {[]string{"admin", "create", "--=" + password}, nil, "", "without a name"},
		"a password for a level":             {[]string{"dev", "--log-level", password}, nil, "", "must be debug"},
		"a level in the environment":         {[]string{"dev"}, []string{"KUBEBYON_LOG_LEVEL=" + password}, "", "must be debug"},
		"a password for a number":            {[]string{"dev", "--worker-concurrency", password}, nil, "", "whole number"},
		"a password for a network":           {[]string{"dev", "--trusted-proxy-cidrs", password}, nil, "", "networks"},
		"a URL with a password for another":  {[]string{"dev", "--public-base-url", "https://u:" + password + "@example.com"}, nil, "", "must be like"},
		"origins with a password":            {[]string{"dev", "--cors-allowed-origins", "https://u:" + password + "@example.com"}, nil, "", "origins"},
		"the help, with secrets around it":   {[]string{"dev", "--help"}, []string{"KUBEBYON_SECRET_KEY=" + password, "KUBEBYON_ADMIN_PASSWORD=" + password}, "", "KUBEBYON_SECRET_KEY"},
		"the help of a command that is none": {[]string{"admin", "--help"}, []string{"KUBEBYON_DATABASE_URL=" + password}, "", "Usage"},
	} {
		tried++
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			arguments := slices.Clone(c.arguments)
			for i, a := range arguments {
				if a == "DATA" {
					arguments[i] = dir
					write(t, filepath.Join(dir, "kubebyon.db"), "")
				}
			}
			cmd := exec.CommandContext(t.Context(), program, arguments...)
			cmd.Dir, cmd.Stdin = dir, strings.NewReader(c.stdin)
			cmd.Env = append([]string{"PATH=" + os.Getenv("PATH"), "HOME=" + dir, "KUBEBYON_HTTP_ADDR=127.0.0.1:0", "KUBEBYON_LOCALPLANE=" + plane}, c.environment...)
			out, err := cmd.CombinedOutput()
			if (err == nil) != strings.HasPrefix(name, "the help") || !strings.Contains(string(out), c.want) {
				t.Errorf("it ended with %v, and its words lack %q", err, c.want)
			}
			l.search().in(out, func(_ needle, at int) {
				t.Errorf("it repeats the secret, at byte %d: %s", at, around(out, at, at+window))
			})
		})
	}
	t.Logf("tried %d commands", tried)
}
