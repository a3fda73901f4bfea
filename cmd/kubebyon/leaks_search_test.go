package main_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"html"
	"maps"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
)

// ledger knows every secret that a run has seen, and what was found where.
type ledger struct {
	mu       sync.Mutex
	secrets  map[string]secretKind // by the bytes that give it away
	codes    map[string]secretKind // those of a few digits
	values   map[secretKind]map[string]bool
	evidence []evidence
	hits     map[hit]int
	numbers  map[hit]map[string]bool // codes that were met, if by chance
	first    map[hit]string          // what the first of them looked like
	exposed  map[string]string
	searched map[string]int64 // bytes, by class of place
}

type secretKind string

type hit struct {
	kind  secretKind
	place string
}

// evidence is something to be searched once every secret is known.
type evidence struct {
	place, source string
	text          []byte
	mayBeCached   bool
}

func newLedger() *ledger {
	return &ledger{
		secrets: map[string]secretKind{}, codes: map[string]secretKind{}, values: map[secretKind]map[string]bool{},
		hits: map[hit]int{}, numbers: map[hit]map[string]bool{}, first: map[hit]string{}, exposed: map[string]string{}, searched: map[string]int64{},
	}
}

// keep remembers a secret text.
func (l *ledger) keep(kind secretKind, text string) { l.keepBytes(kind, []byte(text)) }

// keepCredential remembers a text of which the database may hold a hash, and
// that hash, which is for nobody else either.
func (l *ledger) keepCredential(kind secretKind, text string) {
	sum := sha256.Sum256([]byte(text))
	l.keep(kind, text)
	l.keepBytes(credentialHash, sum[:])
}

// keepCode remembers the six digits of a letter. As a number of its own it is met by
// chance too, but no two of them are in one kind of place.
func (l *ledger) keepCode(code string) {
	l.keep(mailedWord, code) // as it may have been written otherwise
	l.mu.Lock()
	defer l.mu.Unlock()
	l.codes[code] = mailedWord
}

func (l *ledger) keepBytes(kind secretKind, value []byte) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.values[kind] == nil {
		l.values[kind] = map[string]bool{}
	}
	if l.values[kind][string(value)] {
		return
	}
	l.values[kind][string(value)] = true
	for _, n := range needles(value) {
		if _, known := l.secrets[n]; !known { // whoever was first has the better name for it
			l.secrets[n] = kind
		}
	}
}

// keepKeys remembers the private keys in PEM text, and returns how many.
func (l *ledger) keepKeys(kind secretKind, text []byte) (n int) {
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		if !strings.HasSuffix(block.Type, "PRIVATE KEY") {
			continue
		}
		n++
		for _, part := range privateParts(block.Bytes) {
			l.keepBytes(kind, part)
			if inPEM := within(pem.EncodeToMemory(block), block.Bytes, part); inPEM != nil {
				l.keepBytes(kind, inPEM)
			}
		}
	}
	return n
}

// privateParts are the bytes of a key that its certificate does not show.
func privateParts(der []byte) (parts [][]byte) {
	var key any
	key, err := x509.ParsePKCS8PrivateKey(der)
	if err != nil {
		if key, err = x509.ParseECPrivateKey(der); err != nil {
			key, _ = x509.ParsePKCS1PrivateKey(der)
		}
	}
	switch key := key.(type) {
	case *ecdsa.PrivateKey:
		if scalar, err := key.Bytes(); err == nil {
			parts = append(parts, scalar)
		}
	case *rsa.PrivateKey:
		parts = append(parts, key.D.Bytes())
		for _, p := range key.Primes {
			parts = append(parts, p.Bytes())
		}
	case ed25519.PrivateKey:
		parts = append(parts, key.Seed())
	}
	return parts
}

// within cuts out of PEM text what stands for a part of its bytes.
func within(text, der, part []byte) []byte {
	at := bytes.Index(der, part)
	head := bytes.IndexByte(text, '\n') + 1
	if at < 0 || head == 0 {
		return nil
	}
	place := func(char int) int { return head + char + char/64 } // lines have 64 characters
	return text[place((at*4+2)/3):place((at+len(part))*4/3)]
}

// window is how much of a secret gives it away: a log that cuts texts short
// shall not hide one. Join tokens and their like show ten characters to people.
const window = 12

// needles are the texts that give a secret away: the beginning, the middle and
// the end of it, in each way that it may have been written.
func needles(value []byte) (out []string) {
	add := func(text string, width int) {
		for _, at := range []int{0, (len(text) - width) / 2, len(text) - width} {
			out = append(out, text[max(0, at):min(len(text), max(0, at)+width)])
		}
	}
	add(string(value), window)
	add(hex.EncodeToString(value), 2*window)
	add(strings.ToUpper(hex.EncodeToString(value)), 2*window)
	add(strings.Trim(fmt.Sprintf("%d", value), "[]"), 3*window) // bytes as Go prints them
	for shift := range 3 {
		for _, e := range []*base64.Encoding{base64.RawStdEncoding, base64.RawURLEncoding} {
			text := e.EncodeToString(append(make([]byte, shift), value...))
			text = text[(shift*8+5)/6 : (shift+len(value))*8/6] // only what no neighbour can change
			add(text, window*4/3)
		}
	}
	quoted, _ := json.Marshal(string(value))
	for _, text := range []string{
		url.QueryEscape(string(value)), url.PathEscape(string(value)), html.EscapeString(string(value)),
		strings.Trim(string(quoted), `"`), strings.Trim(strconv.Quote(string(value)), `"`), strings.Trim(strconv.QuoteToASCII(string(value)), `"`),
	} {
		add(text, window)
	}
	out = slices.DeleteFunc(out, func(n string) bool { return len(n) < shortest })
	slices.Sort(out)
	return slices.Compact(out)
}

const shortest = 8

// search finds many needles at once: those that share their first eight bytes
// with the text at hand, which a small table rules out nearly everywhere.
type search struct {
	codes   map[string]secretKind
	likely  [1 << 12]uint64
	byStart map[uint64][]needle
}

type needle struct {
	text string
	kind secretKind
}

func (l *ledger) search() *search {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := &search{codes: maps.Clone(l.codes), byStart: map[uint64][]needle{}}
	for text, kind := range l.secrets {
		start := binary.LittleEndian.Uint64([]byte(text))
		s.byStart[start] = append(s.byStart[start], needle{text, kind})
		h := mix(start)
		s.likely[h>>6] |= 1 << (h & 63)
	}
	return s
}

func mix(start uint64) uint64 { return start * 0x9E3779B97F4A7C15 >> 46 }

// in calls found for every needle in text.
func (s *search) in(text []byte, found func(n needle, at int)) {
	for i := 0; i+8 <= len(text); i++ {
		start := binary.LittleEndian.Uint64(text[i:])
		if start == 0 { // files are full of it
			i += 7
			continue
		}
		if h := mix(start); s.likely[h>>6]&(1<<(h&63)) == 0 {
			continue
		}
		for _, n := range s.byStart[start] {
			if len(text)-i >= len(n.text) && string(text[i:i+len(n.text)]) == n.text {
				found(n, i)
			}
		}
	}
}

var sixDigits = regexp.MustCompile(`(?:^|[^0-9A-Za-z._-])([0-9]{6})(?:[^0-9A-Za-z]|$)`)

// codesIn calls found for every code in text that stands there as a number.
func (s *search) codesIn(text []byte, found func(n needle, at int)) {
	if len(s.codes) == 0 {
		return
	}
	for from := 0; from < len(text); {
		m := sixDigits.FindSubmatchIndex(text[from:])
		if m == nil {
			return
		}
		at, to := from+m[2], from+m[3]
		if kind, known := s.codes[string(text[at:to])]; known {
			found(needle{string(text[at:to]), kind}, at)
		}
		from = to // what ends one number may begin the next
	}
}

// look searches text and reports whether it holds any secret.
func (l *ledger) look(s *search, e evidence) (holds bool) {
	s.in(e.text, func(n needle, at int) {
		holds = true
		l.mu.Lock()
		defer l.mu.Unlock()
		h := hit{n.kind, e.place}
		if l.hits[h]++; l.hits[h] == 1 {
			l.first[h] = fmt.Sprintf("%s, byte %d: %s", e.source, at, around(e.text, at, at+len(n.text)))
		}
	})
	s.codesIn(e.text, func(n needle, at int) {
		l.mu.Lock()
		defer l.mu.Unlock()
		h := hit{n.kind, e.place}
		if l.numbers[h] == nil {
			l.numbers[h] = map[string]bool{}
		}
		if l.numbers[h][n.text] = true; len(l.numbers[h]) < 2 {
			return
		}
		if l.hits[h]++; l.hits[h] == 1 {
			l.first[h] = fmt.Sprintf("%s, byte %d: %s", e.source, at, around(e.text, at, at+len(n.text)))
		}
	})
	l.mu.Lock()
	defer l.mu.Unlock()
	class, _, _ := strings.Cut(e.place, " ")
	l.searched[class] += int64(len(e.text))
	return holds
}

// around shows where in text a secret stands, and nothing of the secret.
func around(text []byte, from, to int) string {
	for from > 0 && isPart(text[from-1]) {
		from--
	}
	for to < len(text) && isPart(text[to]) {
		to++
	}
	show := func(b []byte) string {
		return strings.Map(func(r rune) rune {
			if r < ' ' || r > '~' {
				return '.'
			}
			return r
		}, string(b))
	}
	// Whatever stands near may be the rest of it, or another.
	before := longWord.ReplaceAllString(show(text[max(0, from-80):from]), "[…]")
	after := longWord.ReplaceAllString(show(text[to:min(len(text), to+40)]), "[…]")
	return before + "[SECRET]" + after
}

var longWord = regexp.MustCompile(`[A-Za-z0-9+/=_.%\\-]{20,}`)

func isPart(b byte) bool {
	return b >= '0' && b <= '9' || b >= 'A' && b <= 'Z' || b >= 'a' && b <= 'z' || strings.IndexByte("+/=_-%\\", b) >= 0 || b >= 0x80
}

// record keeps something to be searched at the end.
func (l *ledger) record(place, source string, text []byte) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.evidence = append(l.evidence, evidence{place: place, source: source, text: bytes.Clone(text)})
}

// recordAnswer is record for what a browser or a proxy may keep.
func (l *ledger) recordAnswer(place, source string, text []byte, private bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.evidence = append(l.evidence, evidence{place: place, source: source, text: bytes.Clone(text), mayBeCached: !private})
}

func (l *ledger) lookAtEvidence() (n int) {
	s := l.search()
	for _, e := range l.evidence {
		if l.look(s, e) && e.mayBeCached {
			l.exposed[e.place] = e.place + " holds a secret, and does not say that it must not be cached"
		}
	}
	return len(l.evidence)
}

// sweep searches every file under root, its name, and whether only its owner
// may read it if it holds a secret. name turns a path into a place.
func (l *ledger) sweep(t testing.TB, source, root string, name func(rel string) string) {
	t.Helper()
	s := l.search()
	err := filepath.WalkDir(root, func(path string, d os.DirEntry, err error) error {
		if os.IsNotExist(err) {
			return nil // the server works meanwhile
		}
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		l.look(s, evidence{place: "name of a file", source: source, text: []byte(rel)})
		if !d.Type().IsRegular() {
			return nil
		}
		text, err := os.ReadFile(path)
		if os.IsNotExist(err) {
			return nil
		}
		if err == nil && l.look(s, evidence{place: name(rel), source: source + " " + rel, text: text}) {
			l.expose(path, source+" "+rel)
		}
		return err
	})
	if err != nil {
		t.Fatalf("search %s: %v", root, err)
	}
}

// expose notes a file with a secret that others may read, or whose folder they
// may look into.
func (l *ledger) expose(path, source string) {
	for _, p := range []string{path, filepath.Dir(path)} {
		info, err := os.Stat(p)
		if err != nil || info.Mode().Perm()&0o077 == 0 {
			continue
		}
		l.mu.Lock()
		l.exposed[source] = fmt.Sprintf("%s holds a secret, and the mode of %s is %v", source, filepath.Base(p), info.Mode())
		l.mu.Unlock()
	}
}

// The search itself: every way of writing a secret is found wherever it stands,
// and what is no secret is not.
func TestTheSearchForLeaksFindsEveryWayOfWriting(t *testing.T) {
	t.Parallel()
	const password = `pä"ß\w <&>+/%` + "0123456789abcdef"
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	sec1, err := x509.MarshalECPrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	public, err := x509.MarshalPKIXPublicKey(private.Public())
	if err != nil {
		t.Fatal(err)
	}
	asPKCS8 := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8})
	asSEC1 := pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: sec1})
	l := newLedger()
	l.keep(chosenPassword, password)
	if l.keepKeys(authorityKey, asPKCS8) != 1 || l.keepKeys(authorityKey, asSEC1) != 1 {
		t.Fatal("the key is not recognized")
	}
	s := l.search()
	holds := func(text []byte, kind secretKind) (found bool) {
		s.in(text, func(n needle, _ int) { found = found || n.kind == kind })
		return found
	}
	tries := 0
	for kind, values := range map[secretKind][][]byte{
		chosenPassword: {[]byte(password), []byte(password)[:16], []byte(password)[len(password)-16:]},
		authorityKey:   {asPKCS8, pkcs8, asSEC1, sec1},
	} {
		for _, v := range values {
			for shift := range 4 {
				for way, text := range waysOfWriting(append(bytes.Repeat([]byte("~"), shift), v...)) {
					tries++
					if !holds([]byte("before "+text+" behind"), kind) {
						t.Errorf("a %s of %d bytes behind %d others is not found in %s", kind, len(v), shift, way)
					}
				}
			}
		}
	}
	for what, text := range map[string][]byte{
		"a public key": public, "one as PEM": pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: public}),
		"another key's head": pkcs8[:36], "nothing": make([]byte, 1000), "ten characters": []byte("x" + password[:10] + "x"),
	} {
		if holds(text, chosenPassword) || holds(text, authorityKey) {
			t.Errorf("%s is taken for a secret", what)
		}
	}
	t.Logf("tried %d texts with %d needles", tries, len(l.secrets))
}

// Codes are numbers that are met by chance: one is nothing, two in one place are.
func TestTheSearchForLeaksFindsCodes(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]bool{
		"code=123456, code=654321": true, "123456 654321": true, `{"code":"123456"}{"code":"654321"}`: true, "123456\x00654321": true, "is 123456. is 654321.": true,
		"code=123456, code=123456": false, "code=123456, code=111111": false, "0.123456 0.654321": false, "1234567 6543210": false, "a123456 b654321": false, "": false,
	} {
		l := newLedger()
		l.keepCode("123456")
		l.keepCode("654321")
		s := l.search()
		for half := range strings.SplitSeq(text, ",") {
			l.look(s, evidence{place: "log", text: []byte(half)})
		}
		if found := l.hits[hit{mailedWord, "log"}] > 0; found != want {
			t.Errorf("%q: found %v, want %v", text, found, want)
		}
	}
	l := newLedger()
	l.keepCode("123456")
	if !l.look(l.search(), evidence{place: "log", text: []byte("in hex: 313233343536")}) {
		t.Error("a code in hex is not found")
	}
}

func waysOfWriting(v []byte) map[string]string {
	quoted, _ := json.Marshal(string(v))
	return map[string]string{
		"itself": string(v), "base64": base64.StdEncoding.EncodeToString(v), "base64 for URLs": base64.URLEncoding.EncodeToString(v),
		"hex": hex.EncodeToString(v), "hex in capitals": fmt.Sprintf("%X", v), "bytes": fmt.Sprintf("%d", v),
		"a query": url.QueryEscape(string(v)), "a path": url.PathEscape(string(v)), "JSON": string(quoted), "Go": fmt.Sprintf("%q", v),
	}
}
