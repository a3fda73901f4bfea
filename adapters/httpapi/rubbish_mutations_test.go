package httpapi_test

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/getkin/kin-openapi/openapi3"
)

// mutation spoils a request in one way. It reports false where it does not fit.
type mutation struct {
	name  string
	apply func(r *rubbish, q *rubbishRequest) bool
}

func (r *rubbish) mutate(q *rubbishRequest) {
	for range 20 {
		m := mutations[r.rand.IntN(len(mutations))]
		if m.apply(r, q) {
			q.mutations = append(q.mutations, m.name)
			return
		}
	}
}

// mutations are all the ways. Those of fields stand first, and several times:
// most of what can go wrong goes wrong there.
var mutations = slices.Concat(
	slices.Repeat([]mutation{{"odd value", oddValue}}, 6),
	slices.Repeat([]mutation{{"boundary", boundary}}, 3),
	slices.Repeat([]mutation{{"odd query value", oddQueryValue}}, 3),
	slices.Repeat([]mutation{{"odd path", oddPath}}, 3),
	[]mutation{
		{"field missing", fieldMissing},
		{"field unknown", fieldUnknown},
		{"field renamed", fieldRenamed},
		{"field in another case", fieldInAnotherCase},
		{"field twice", fieldTwice},
		{"body replaced", bodyReplaced},
		{"body cut off", bodyCutOff},
		{"body with more behind", bodyWithMore},
		{"body not UTF-8", bodyNotUTF8},
		{"body bytes changed", bodyBytes},
		{"body on what takes none", bodyUnasked},
		{"body too long", bodyTooLong},
		{"upload spoiled", uploadSpoiled},
		{"upload spoiled", uploadSpoiled},
		{"query twice", queryTwice},
		{"query unknown", queryUnknown},
		{"query garbage", queryGarbage},
		{"content type", contentType},
		{"content encoding", contentEncoding},
		{"method", otherMethod},
		{"header", oddHeader},
		{"host", oddHost},
		{"credential", oddCredential},
		{"idempotency key", oddKey},
	},
)

// oddTexts are texts that some layer may stumble over, as JSON.
var oddTexts = []string{
	`""`, `" "`, `"\u0000"`, `"a\u0000b"`, `"\ud800"`, `"\udc00\ud800"`, `"\u202eevil"`, `"\u200b"`, `"\ufeff"`, `"\u2028"`, `"\n\r\t\u001b[31m"`, `"\u007f\u0085"`,
	`"аdmin"`, `"ａｄｍｉｎ"`, `"e\u0301"`, `"ﬀ"`, `"İ"`, `"ß"`, `"👩‍👩‍👧‍👦"`, `"../../etc/passwd"`, `"$(reboot)"`, `"'; DROP TABLE users; --"`, `"<script>"`, `"%s%n%00"`,
	`"null"`, `"true"`, `"0"`, `"1e999"`, `"default"`, `"kube-system"`, `"-"`, `"a-"`, `"1.2.3.4"`, `"::1"`, `"fe80::1%eth0"`, `"0.0.0.0"`, `"a..b"`, `"localhost:6443"`, `"http://x"`,
}

// wrongTypes are values that no text, number or truth can be.
var wrongTypes = []string{`[]`, `{}`, `["x"]`, `{"a":{"b":[1]}}`, `[null]`, `[[[[[[[[[[]]]]]]]]]]`}

var oddNumbers = []string{
	`-1`, `0`, `-0`, `1.5`, `1e3`, `1E400`, `-1e-400`, `0.1e1`, `9007199254740993`, `2147483648`, `9223372036854775807`, `9223372036854775808`, `18446744073709551616`,
	`-9223372036854775809`, `99999999999999999999999999999999999999`,
}

// marker is a text that is found again wherever it comes out.
func (r *rubbish) marker(q *rubbishRequest) string {
	m := "zq" + strconv.FormatUint(r.rand.Uint64(), 36)
	q.markers = append(q.markers, m)
	return m
}

func pick[T any](r *rubbish, from []T) T { return from[r.rand.IntN(len(from))] }

func (r *rubbish) field(q *rubbishRequest) (p *pair, ok bool) {
	if q.raw != nil || len(q.body) == 0 {
		return nil, false
	}
	p = &q.body[r.rand.IntN(len(q.body))]
	return p, !strings.HasPrefix(p.name, `"`)
}

// oddValue puts another value into a field.
func oddValue(r *rubbish, q *rubbishRequest) bool {
	f, ok := r.field(q)
	if !ok || q.op.body.Properties[f.name] == nil {
		return false
	}
	schema := q.op.body.Properties[f.name].Value
	q.at = "body." + f.name
	switch r.rand.IntN(6) {
	case 0:
		f.value = "null"
	case 1:
		f.value = pick(r, wrongTypes)
		q.refuse = q.refuse || f.value != "{}" || !schema.Type.Is("object")
	case 2:
		f.value = pick(r, oddTexts)
		q.refuse = q.refuse || !schema.Type.Is("string")
	case 3:
		f.value = pick(r, oddNumbers)
		q.refuse = q.refuse || schema.Type.Is("string") || schema.Type.Is("boolean")
	case 4:
		f.value = `"` + r.marker(q) + strings.Repeat("x", r.rand.IntN(3000)) + "\x01\"" // a control character that JSON does not allow
		q.refuse = true
	case 5:
		f.value = `{"` + "deep" + `":` + strings.Repeat("[", 10+r.rand.IntN(20_000)) // far too deep, and not closed
		q.refuse = true
	}
	if r.rand.IntN(8) == 0 && schema.Type.Is("string") {
		f.value, q.refuse = `"`+r.marker(q)+strings.Repeat("é", r.rand.IntN(70_000))+`"`, false
	}
	return true
}

// boundary goes to the edge of what a number may be, and beyond.
func boundary(r *rubbish, q *rubbishRequest) bool {
	if q.raw != nil || !q.hasBody {
		return false
	}
	var bounded []string
	for _, name := range q.op.fields {
		if s := q.op.body.Properties[name].Value; s.Min != nil && s.Max != nil {
			bounded = append(bounded, name)
		}
	}
	if len(bounded) == 0 {
		return false
	}
	name := pick(r, bounded)
	s := q.op.body.Properties[name].Value
	value := pick(r, []float64{*s.Min, *s.Max, *s.Min - 1, *s.Max + 1, -*s.Max, *s.Max * 1000})
	q.body = slices.DeleteFunc(q.body, func(p pair) bool { return strings.Trim(p.name, `"`) == name })
	q.body = append(q.body, pair{name, strconv.FormatFloat(value, 'f', -1, 64)})
	q.refuse = q.refuse || value < *s.Min || value > *s.Max
	q.at = "body." + name
	return true
}

func fieldMissing(r *rubbish, q *rubbishRequest) bool {
	f, ok := r.field(q)
	if !ok {
		return false
	}
	name := f.name
	if slices.Contains(q.op.body.Required, name) {
		q.refuse, q.at = true, "body"
	}
	q.body = slices.DeleteFunc(q.body, func(p pair) bool { return p.name == name })
	return true
}

func fieldUnknown(r *rubbish, q *rubbishRequest) bool {
	if q.raw != nil || !q.hasBody {
		return false
	}
	q.refuse, q.at = true, "body"
	name := pick(r, []string{`"` + r.word("u") + `"`, `""`, `"$schema"`, `"__proto__"`, `"a.b[0]"`, `"name "`, `"id"`, `"owner_user_id"`, `"role"`, `"\u0000"`, `"\ud800"`})
	q.body = append(q.body, pair{name, `"` + r.marker(q) + `"`})
	return true
}

func fieldRenamed(r *rubbish, q *rubbishRequest) bool {
	f, ok := r.field(q)
	if !ok {
		return false
	}
	f.name += pick(r, []string{"s", "_", " ", "1", "[]", "\u0000"})
	q.refuse, q.at = true, "body"
	return true
}

func fieldInAnotherCase(r *rubbish, q *rubbishRequest) bool {
	f, ok := r.field(q)
	if !ok {
		return false
	}
	// Ignoring case, these are the same to Go: ſ is an s, and K (Kelvin) a k.
	f.name = pick(r, []func(string) string{
		strings.ToUpper,
		func(s string) string { return strings.ToUpper(s[:1]) + s[1:] },
		func(s string) string {
			return strings.NewReplacer("s", "ſ", "k", "K").Replace(s) + strings.Repeat(" ", 1-min(1, strings.Count(s, "s")+strings.Count(s, "k")))
		},
	})(f.name)
	q.refuse, q.at = true, "body"
	return true
}

// fieldTwice says something twice, alike or not: readers differ in which counts.
func fieldTwice(r *rubbish, q *rubbishRequest) bool {
	f, ok := r.field(q)
	if !ok {
		return false
	}
	name := f.name
	if r.rand.IntN(2) == 0 { // the same name in another spelling
		name = fmt.Sprintf(`"\u%04x%s"`, name[0], name[1:])
	}
	q.body = append(q.body, pair{name, pick(r, []string{f.value, "null", `"` + r.marker(q) + `"`})})
	q.refuse, q.at = true, "body"
	return true
}

func bodyReplaced(r *rubbish, q *rubbishRequest) bool {
	if q.op.body == nil {
		return false
	}
	// What could be taken for a body of a kind stands in oddBodies as well.
	q.raw, q.hasBody = []byte(pick(r, append(slices.Clip(oddBodies), "tru", "{'a':1}", "{a:1}", "{,}", `{"a":}`, "[1,]", "NaN", "<xml/>", "name=x", "\x1f\x8b\x08"))), true
	return true
}

func (r *rubbish) text(q *rubbishRequest) ([]byte, bool) {
	if q.raw != nil || !q.hasBody {
		return nil, false
	}
	q.wire() // names become JSON
	return []byte(q.object()), true
}

func bodyCutOff(r *rubbish, q *rubbishRequest) bool {
	text, ok := r.text(q)
	if !ok {
		return false
	}
	q.raw = text[:r.rand.IntN(len(text))]
	if len(q.raw) > 0 || q.op.needsBody {
		q.refuse, q.at = true, "body"
	}
	return true
}

func bodyWithMore(r *rubbish, q *rubbishRequest) bool {
	text, ok := r.text(q)
	if !ok {
		return false
	}
	q.raw = append(text, pick(r, []string{"{}", "x", "\x00", ",", "}", " {}", "\n[]", "//"})...)
	q.refuse, q.at = true, "body"
	return true
}

func bodyNotUTF8(r *rubbish, q *rubbishRequest) bool {
	text, ok := r.text(q)
	if !ok {
		return false
	}
	at := bytes.LastIndexByte(text, '"')
	if at < 0 {
		return false
	}
	q.raw = slices.Concat(text[:at], []byte(pick(r, []string{"\xff", "\xc0\x80", "\xed\xa0\x80", "\xf8\x88\x80\x80\x80", "\xe2\x82"})), text[at:])
	q.refuse, q.at = true, "body"
	return true
}

func bodyBytes(r *rubbish, q *rubbishRequest) bool {
	text, ok := r.text(q)
	if !ok {
		return false
	}
	for range 1 + r.rand.IntN(3) {
		text[r.rand.IntN(len(text))] = byte(r.rand.IntN(256))
	}
	q.raw = text
	return true
}

func bodyUnasked(r *rubbish, q *rubbishRequest) bool {
	if q.op.body != nil {
		return false
	}
	q.raw = []byte(pick(r, []string{"{}", `{"name":"x"}`, "\x00", strings.Repeat("x", 100_000)}))
	return true
}

func bodyTooLong(r *rubbish, q *rubbishRequest) bool {
	if q.op.body == nil || r.rand.IntN(10) > 0 { // they take long to send
		return false
	}
	q.raw = []byte(`{"name":"` + strings.Repeat("x", 1<<20-11+r.rand.IntN(3)) + `"}`)
	q.refuse = true
	return true
}

// uploadSpoiled changes a form with a file, or the file.
func uploadSpoiled(r *rubbish, q *rubbishRequest) bool {
	if !q.op.takesFile {
		return false
	}
	whole := formOf(redSquare)
	q.refuse, q.at = true, "body"
	switch r.rand.IntN(8) {
	case 0:
		q.raw = []byte(whole[:r.rand.IntN(len(whole)-len(formEnd))])
	case 1:
		file := []byte(redSquare)
		for range 1 + r.rand.IntN(5) {
			file[r.rand.IntN(len(file))] = byte(r.rand.IntN(256))
		}
		q.raw, q.refuse = []byte(formOf(string(file))), false
	case 2:
		q.raw, q.at = []byte(formOf(redSquare[:r.rand.IntN(len(redSquare)-12)])), "body.file"
	case 3:
		q.raw, q.at = []byte(formOf(pick(r, []string{"", "GIF89a", "RIFF\xff\xff\xff\xffWEBPVP8 ", "\xff\xd8\xff", "\x89PNG\r\n\x1a\n", "<svg/>", r.marker(q)}))), "body.file"
	case 4:
		q.raw = []byte(strings.Replace(string(whole), `"file"`, `"`+r.marker(q)+`"`, 1))
	case 5:
		q.raw = []byte(strings.TrimSuffix(string(whole), formEnd) + "\r\n" + string(whole))
	case 6:
		q.raw, q.refuse = []byte(strings.Replace(string(whole), "Content-Type", pick(r, []string{"Content-Transfer-Encoding: quoted-printable\r\nX", "X: " + strings.Repeat("x", 20_000) + "\r\nY", "\x00", ":"}), 1)), false
	case 7:
		q.raw = []byte(formOf(redSquare + strings.Repeat("x", 2<<20)))
	}
	return true
}

func oddQueryValue(r *rubbish, q *rubbishRequest) bool {
	if !slices.ContainsFunc(q.op.parameters, isQuery) {
		return false
	}
	var names []string
	for _, p := range q.op.parameters {
		if p.In == "query" {
			names = append(names, p.Name)
		}
	}
	name := pick(r, names)
	q.query = slices.DeleteFunc(q.query, func(p pair) bool { return p.name == name })
	value := pick(r, []string{
		"", "%00", "%ff", "%C0%80", "%ED%A0%80", "%0a%0d", "%25", "+", "%20", "-1", "0", "501", "1000000000000000000000", "1e2", "0x10", "1.5", "١", "null", "true", "%27", "%5C", "%25_",
		"../..", "kbt_", "cl_", "%F0%9F%98%80", r.marker(q), r.marker(q) + strings.Repeat("a", 3000), base64.RawURLEncoding.EncodeToString([]byte("cl_" + strings.Repeat("z", 26))),
		base64.RawURLEncoding.EncodeToString([]byte(q.place.node)), base64.StdEncoding.EncodeToString([]byte(q.place.cluster)), q.place.cluster, q.place.node, strings.ToUpper(q.place.cluster),
	})
	q.query = append(q.query, pair{name, value})
	q.at = "query." + name
	return true
}

func queryTwice(r *rubbish, q *rubbishRequest) bool {
	if len(q.query) == 0 {
		return false
	}
	p := pick(r, q.query)
	q.query = append(q.query, pair{p.name, pick(r, []string{p.value, "", r.marker(q)})})
	return true
}

func queryUnknown(r *rubbish, q *rubbishRequest) bool {
	q.query = append(q.query, pair{pick(r, []string{r.word("u"), "", "LIMIT", "limit%00", "a[]", "%24"}), r.marker(q)})
	return true
}

func queryGarbage(r *rubbish, q *rubbishRequest) bool {
	q.path += "?" + pick(r, []string{"%zz", "%", "&&&", "=", "?", "a;b", "%u0041=1", "limit=%zz", "status=%g0", "a=b=c", strings.Repeat("a=1&", 500)}) + "&" + r.marker(q)
	q.query = nil
	return true
}

// oddPath puts something else in place of an identifier.
func oddPath(r *rubbish, q *rubbishRequest) bool {
	segments := strings.Split(q.op.path, "/")
	var at []int
	for i, s := range segments {
		if strings.HasPrefix(s, "{") {
			at = append(at, i)
		}
	}
	now := strings.Split(q.path, "/")
	if len(at) == 0 || len(now) != len(segments) {
		return false
	}
	i := pick(r, at)
	now[i] = pick(r, []string{
		strings.ToUpper(now[i]), now[i] + "0", now[i] + "%20", now[i] + "%0a", now[i] + "%00", "%" + fmt.Sprintf("%02x", now[i][0]) + now[i][1:], now[i][:max(1, len(now[i])-1)],
		q.place.cluster, q.place.node, q.place.tokenID, "cl_" + strings.Repeat("0", 26), "node_" + strings.Repeat("z", 26), "..", ".", "%2e%2e", "%2f", "..%2f..", "%00", "%ff", "%c0%ae", "*", "~", "{clusterID}",
		r.marker(q), strings.Repeat("a", 5000), "%E2%80%AE", "null", "0", "-1", "'", "cl_1;ls", "%25%32%66",
	})
	q.path = strings.Join(now, "/") + pick(r, []string{"", "", "", "", "/", "//", "%2f"})
	return true
}

func contentType(r *rubbish, q *rubbishRequest) bool {
	if !q.hasBody {
		return false
	}
	q.setHeader("Content-Type", pick(r, []string{
		"text/plain", "application/xml", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "application/json; charset=utf-16", "application/json; charset=latin-1",
		"application/json;", "APPLICATION/JSON", "application/json, text/plain", "application/merge-patch+json", "application/vnd.api+json", "", ";", "/", "json", "*/*", "application/json; a=\"", r.marker(q),
	}))
	return true
}

func contentEncoding(r *rubbish, q *rubbishRequest) bool {
	q.setHeader("Content-Encoding", pick(r, []string{"gzip", "br", "identity", "deflate, gzip", "", "x"}))
	return true
}

func otherMethod(r *rubbish, q *rubbishRequest) bool {
	q.method = pick(r, []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT", "FROB", "get", "G E T", "", "PROPFIND", "M-SEARCH"})
	return true
}

func oddHeader(r *rubbish, q *rubbishRequest) bool {
	h := pick(r, []pair{
		{"Accept", "application/xml"},
		{"Accept", "json"},
		{"Accept", "*/*;q=0"},
		{"Accept", ",;="},
		{"Accept-Encoding", "gzip, br;q=x"},
		{"Accept-Language", strings.Repeat("x-", 2000)},
		{"X-Forwarded-For", "1.2.3.4, ::1, x"},
		{"Forwarded", `for="[::1`},
		{"X-Forwarded-Host", "evil.example"},
		{"X-Forwarded-Proto", "gopher"},
		{"X-Request-Id", r.marker(q)},
		{"X-HTTP-Method-Override", "DELETE"},
		{"X-Original-URL", "/api/console/admin/activities"},
		{"Range", "bytes=0-"},
		{"If-None-Match", "*"},
		{"If-Match", `"x"`},
		{"Expect", "100-continue"},
		{"Upgrade", "websocket"},
		{"Connection", "Upgrade"},
		{"Trailer", "X"},
		{"Origin", "null"},
		{"Origin", "https://evil.example"},
		{"Origin", "http://" + host},
		{"Origin", "http://\x7f"},
		{"Sec-Fetch-Site", "cross-site"},
		{"Sec-Fetch-Site", "same-origin"},
		{"Sec-Fetch-Site", "x"},
		{"Referer", "\xff"},
		{"User-Agent", "\xff\xfe" + strings.Repeat("u", 3000)},
		{"User-Agent", ""},
		{"X-\xe9", "x"},
		{"Access-Control-Request-Method", "DELETE"},
		{"Content-Length", "5"},
		{"Transfer-Encoding", "chunked"},
		{"TE", "trailers"},
		{"Date", "yesterday"},
		{"Via", "1.1 x"},
	})
	q.headers = append(q.headers, h)
	return true
}

func oddHost(r *rubbish, q *rubbishRequest) bool {
	q.setHeader("Host", pick(r, []string{"", "x y", "$(id)", "a\"b", "'", "[::1]", "[::1]:99999", "evil.example", "a..b", "under_score.example", "a.-b", "1.2.3", "0x7f.1", "a:b:c", "..", "-", "*", strings.Repeat("h", 300), "é", host + ":80", strings.ToUpper(host), r.marker(q)}))
	return true
}

func oddCredential(r *rubbish, q *rubbishRequest) bool {
	cookie := ""
	for _, h := range q.headers {
		if h.name == "Cookie" {
			cookie = h.value
		}
	}
	h := pick(r, []pair{
		{"Authorization", "Bearer " + r.marker(q)},
		{"Authorization", "Bearer kbk_" + strings.Repeat("a", 40)},
		{"Authorization", ""},
		{"Authorization", "Basic YTpi"},
		{"Authorization", "Bearer"},
		{"Cookie", cookie + "x"},
		{"Cookie", cookie + "; " + cookie},
		{"Cookie", strings.ToUpper(cookie)},
		{"Cookie", "kubebyon_session=\"" + r.marker(q) + "\""},
		{"Cookie", "kubebyon_session="},
		{"Cookie", "=;=;;" + cookie},
		{"Cookie", strings.Repeat("a=b; ", 500) + cookie},
		{"Cookie", strings.Replace(cookie, "=", " = ", 1)},
	})
	if r.rand.IntN(3) == 0 {
		q.headers = append(q.headers, h)
	} else {
		q.setHeader(h.name, h.value)
	}
	return true
}

func oddKey(r *rubbish, q *rubbishRequest) bool {
	value := pick(r, []string{"", " ", "again", "again", "again", "é", "a b", "\x01", strings.Repeat("k", 255), strings.Repeat("k", 256), strings.Repeat("k", 5000), r.marker(q)})
	if r.rand.IntN(4) == 0 {
		q.headers = append(q.headers, pair{"Idempotency-Key", value})
	} else {
		q.setHeader("Idempotency-Key", value)
	}
	return q.op.method == http.MethodPost
}

func isQuery(p *openapi3.Parameter) bool { return p.In == "query" }
