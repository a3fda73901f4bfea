package id_test

import (
	"encoding/json"
	"errors"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/kubebyon/kubebyon/core/kernel/fault"
	"github.com/kubebyon/kubebyon/core/kernel/id"
)

func random() (b [10]byte) {
	for i := range b {
		b[i] = byte(rand.Uint32())
	}
	return b
}

func TestEveryKindReadsBackWhatItWroteAndNothingElse(t *testing.T) {
	t.Parallel()
	now := time.UnixMilli(1_776_930_600_000)
	written := map[string]string{
		"usr": id.New[id.UserKind](now, random()).String(), "ses": id.New[id.SessionKind](now, random()).String(),
		"key": id.New[id.APIKeyKind](now, random()).String(), "cl": id.New[id.ClusterKind](now, random()).String(),
		"op": id.New[id.OperationKind](now, random()).String(), "job": id.New[id.JobKind](now, random()).String(),
		"tok": id.New[id.TokenKind](now, random()).String(), "node": id.New[id.NodeKind](now, random()).String(),
		"nevt": id.New[id.NodeEventKind](now, random()).String(), "aud": id.New[id.AuditKind](now, random()).String(),
		"msg": id.New[id.MessageKind](now, random()).String(), "lgn": id.New[id.SignInKind](now, random()).String(),
		"ntf": id.New[id.DeliveryKind](now, random()).String(),
	}
	for prefix, text := range written {
		if !strings.HasPrefix(text, prefix+"_") || len(text) != len(prefix)+1+26 {
			t.Errorf("a %s id reads %q", prefix, text)
		}
		if _, err := id.Parse[id.ClusterKind](text); (err == nil) != (prefix == "cl") {
			t.Errorf("%q as a cluster: %v", text, err)
		}
	}
}

func TestIdentifiersComeBackFromTextAndJSON(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		ms := rapid.Int64Range(0, 1<<48-1).Draw(t, "ms")
		b := [10]byte(rapid.SliceOfN(rapid.Byte(), 10, 10).Draw(t, "random"))
		want := id.New[id.ClusterKind](time.UnixMilli(ms), b)
		got, err := id.Parse[id.ClusterKind](want.String())
		if err != nil || got != want {
			t.Fatalf("Parse(%q) = %v, %v", want, got, err)
		}
		type holder struct {
			A, Zero id.Cluster
		}
		doc, err := json.Marshal(holder{A: want})
		var back holder
		if err != nil || json.Unmarshal(doc, &back) != nil || back.A != want || !back.Zero.IsZero() {
			t.Fatalf("%s came back as %v, %v", doc, back, err)
		}
	})
}

func TestTextOrderIsTimeOrder(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		times := rapid.SliceOfNDistinct(rapid.Int64Range(0, 1<<48-1), 2, 20, rapid.ID).Draw(t, "ms")
		slices.Sort(times)
		var texts []string
		for _, ms := range times {
			texts = append(texts, id.New[id.JobKind](time.UnixMilli(ms), random()).String())
		}
		if !slices.IsSorted(texts) {
			t.Fatalf("later is not greater: %v", texts)
		}
	})
}

func TestParseTakesOneSpellingOnly(t *testing.T) {
	t.Parallel()
	good := id.New[id.ClusterKind](time.UnixMilli(1_776_930_600_000), random()).String()
	for name, text := range map[string]string{
		"empty": "", "prefix alone": "cl_", "upper case": strings.ToUpper(good), "other prefix": "tok" + good[2:],
		"no underscore": "cl" + good[3:], "short": good[:len(good)-1], "long": good + "0", "newline": good + "\n",
		"newline inside": good[:10] + "\n" + good[10:], "space": " " + good, "NUL": good[:10] + "\x00" + good[11:],
		"look-alike letters": good[:10] + "o" + good[11:], "stray bits at the end": good[:len(good)-1] + "z", "padding": good + "======",
	} {
		got, err := id.Parse[id.ClusterKind](text)
		if !errors.Is(err, fault.Invalid) || !got.IsZero() {
			t.Errorf("%s: %v, %v", name, got, err)
		}
		if err != nil && len(text) > 4 && strings.Contains(err.Error(), text) {
			t.Errorf("%s: the error repeats the text", name)
		}
	}
}

func TestUnmarshalRefusesAnotherKind(t *testing.T) {
	t.Parallel()
	var c id.Cluster
	if err := c.UnmarshalText([]byte(id.New[id.NodeKind](time.UnixMilli(1), random()).String())); err == nil || !c.IsZero() {
		t.Errorf("a node passed for a cluster: %v, %v", c, err)
	}
}

func FuzzParseReadsOnlyWhatNewWrites(f *testing.F) {
	f.Add("cl_00000000000000000000000000")
	f.Add(id.New[id.ClusterKind](time.UnixMilli(1_776_930_600_000), random()).String())
	f.Add("cl_zzzzzzzzzzzzzzzzzzzzzzzzzz")
	f.Add("cl_\n")
	f.Fuzz(func(t *testing.T, text string) {
		got, err := id.Parse[id.ClusterKind](text)
		if err == nil && (got.String() != text || len(text) != 29) {
			t.Errorf("%q was read as %q", text, got)
		}
		if err != nil && !got.IsZero() {
			t.Errorf("%q failed and gave %q", text, got)
		}
	})
}
