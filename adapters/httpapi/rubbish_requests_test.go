package httpapi_test

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"

	"github.com/kubebyon/kubebyon/adapters/httpapi/session"
	"github.com/kubebyon/kubebyon/core/kernel/actor"
)

// rubbishOperation is what the document says of one operation.
type rubbishOperation struct {
	id, method, path string
	parameters       []*openapi3.Parameter
	body             *openapi3.Schema // nil: takes none
	fields           []string         // of body, in order
	needsBody        bool
	takesFile        bool // in a form, and no body besides
	open             bool // to anybody
	lenient          bool // clients of other systems are: unknown keys, and keys in another case, are taken
}

func rubbishOperations(t *testing.T, doc *openapi3.T) (out []*rubbishOperation) {
	t.Helper()
	for path, item := range doc.Paths.Map() {
		for method, o := range item.Operations() {
			op := &rubbishOperation{id: o.OperationID, method: method, path: path, lenient: strings.HasPrefix(o.OperationID, "kite"), open: o.Security == nil || len(*o.Security) == 0}
			for _, p := range append(slices.Clone(item.Parameters), o.Parameters...) {
				op.parameters = append(op.parameters, p.Value)
			}
			if o.RequestBody != nil && o.RequestBody.Value.Content.Get("multipart/form-data") != nil {
				op.takesFile = true
			} else if o.RequestBody != nil {
				media := o.RequestBody.Value.Content.Get("application/json")
				if media == nil {
					t.Fatalf("%s takes a body that is not JSON: teach rubbishOperation about it", op.id)
				}
				op.body, op.needsBody = media.Schema.Value, o.RequestBody.Value.Required
				op.fields = slices.Sorted(maps.Keys(op.body.Properties))
			}
			out = append(out, op)
		}
	}
	slices.SortFunc(out, func(a, b *rubbishOperation) int { return cmp.Compare(a.id, b.id) })
	return out
}

// pair is a name and a value, of a header, a query or an object. The value
// stands as it is sent.
type pair struct{ name, value string }

// rubbishRequest is a request in the making.
type rubbishRequest struct {
	op      *rubbishOperation
	place   place
	method  string
	path    string
	query   []pair
	headers []pair
	body    []pair // of an object
	hasBody bool
	raw     []byte // the whole body, if not nil

	mutations []string
	refuse    bool     // it can only be refused
	at        string   // where a refusal must see the fault
	markers   []string // values that must not be repeated
}

// valid is a request that is as the document wants it, from somebody who may
// well be allowed to send it.
func (r *rubbish) valid(op *rubbishOperation) *rubbishRequest {
	if op.id == "kiteImportClusters" && r.rand.IntN(4) == 0 {
		r.endClusters()
		r.places = nil
		r.deeds.take()
	}
	q := &rubbishRequest{op: op, method: op.method, path: op.path}
	if op.id != "kiteImportClusters" { // of a fleet that may have to be empty
		q.place = r.place(r.rand.IntN(placesKept))
	}
	q.headers = append(q.headers, pair{"Host", host})
	for _, p := range op.parameters {
		r.parameter(q, p)
	}
	if op.body != nil && (op.needsBody || r.rand.IntN(4) > 0) {
		q.hasBody = true
		r.fill(q)
	}
	if op.takesFile {
		q.hasBody, q.raw = true, []byte(formOf(redSquare))
		q.headers = append(q.headers, pair{"Content-Type", formType})
	}
	r.credential(q)
	if op.id == "completeSSO" {
		r.comeBack(q)
	}
	return q
}

// comeBack brings what a provider sends a browser back with.
func (r *rubbish) comeBack(q *rubbishRequest) {
	state, cookie := r.way()
	q.query = []pair{{"state", state}, {"code", url.QueryEscape(r.word("a") + "@kubebyon.test")}}
	q.headers = append(q.headers, pair{"Cookie", session.WayCookieName + "=" + cookie})
}

func (r *rubbish) parameter(q *rubbishRequest, p *openapi3.Parameter) {
	switch p.In {
	case "path":
		value, ok := map[string]string{"clusterID": q.place.cluster, "tokenID": q.place.tokenID, "nodeID": q.place.node, "provider": "company", "userID": r.person, "keyID": q.place.key, "deliveryID": q.place.delivery, "number": q.place.number, "id": q.place.number}[p.Name]
		if !ok {
			r.t.Fatalf("nothing is known of {%s} in the path of %s: teach rubbish.parameter what it names, and place to have one", p.Name, q.op.id)
		}
		q.path = strings.ReplaceAll(q.path, "{"+p.Name+"}", value)
	case "query":
		if p.Required || p.Name == "token" || r.rand.IntN(3) == 0 {
			q.query = append(q.query, pair{p.Name, url.QueryEscape(r.queryValue(q, p))})
		}
	case "header":
		if p.Required || r.rand.IntN(2) == 0 {
			q.headers = append(q.headers, pair{p.Name, r.word("key")})
		}
	}
}

func (r *rubbish) queryValue(q *rubbishRequest, p *openapi3.Parameter) string {
	switch p.Name {
	case "limit":
		return fmt.Sprint(1 + r.rand.IntN(4))
	case "cursor":
		return r.cursors[q.op.id]
	case "cluster_id":
		return q.place.cluster
	case "node_id":
		return q.place.node
	case "token":
		return q.place.token
	}
	s := p.Schema.Value
	if len(s.Enum) > 0 {
		return fmt.Sprint(s.Enum[r.rand.IntN(len(s.Enum))])
	}
	return fmt.Sprint(example(s, p.Example))
}

func example(s *openapi3.Schema, otherwise any) any {
	switch {
	case otherwise != nil:
		return otherwise
	case s.Example != nil:
		return s.Example
	case s.Type.Is("integer"):
		return 1
	case s.Type.Is("boolean"):
		return true
	}
	return "text"
}

// fill writes the body: what is needed, and some of the rest.
func (r *rubbish) fill(q *rubbishRequest) {
	label := r.word("c")
	email, code := r.addressee(q.op.id)
	for _, name := range q.op.fields {
		if !slices.Contains(q.op.body.Required, name) && r.rand.IntN(2) == 0 {
			continue
		}
		var value any
		switch name {
		case "name":
			value = "Name " + r.word("n")
		case "vcluster_name":
			value = label
		case "namespace":
			if !slices.ContainsFunc(q.body, func(p pair) bool { return p.name == "vcluster_name" }) {
				q.body = append(q.body, pair{"vcluster_name", encode(label)})
			}
			value = label
		case "control_plane_host":
			value = "api.demo.example.com"
		case "public_access_mode":
			value = r.fieldValue(q.op.body.Properties[name].Value)
			if value == "ingress" && !slices.ContainsFunc(q.body, func(p pair) bool { return p.name == "control_plane_host" }) {
				q.body = append(q.body, pair{"control_plane_host", encode("api.demo.example.com")})
			}
		case "channel": // the one that is set up, which needs a target
			value = "email"
			if !slices.ContainsFunc(q.body, func(p pair) bool { return p.name == "target" }) {
				q.body = append(q.body, pair{"target", encode(userEmail)})
			}
		case "target":
			value = userEmail
		case "config":
			if value = aKubeconfig; q.op.lenient {
				break
			}
			value = map[string]any{"notification_delivery": map[string]any{"enabled_channels": []string{"email"}, "telegram_chat_id": "7"}}
		case "credential":
			value = r.wayIn()
		case "email":
			value = email
		case "email_verification_code":
			value = code
		case "password", "new_password":
			value = password
		case "kubernetes_version":
			value = "v1.36.3"
		case "settings":
			value = r.settings()
		default:
			value = r.fieldValue(q.op.body.Properties[name].Value)
		}
		if !slices.ContainsFunc(q.body, func(p pair) bool { return p.name == name }) {
			q.body = append(q.body, pair{name, encode(value)})
		}
		if target := targetOf[name]; target != "" && value == true && !slices.ContainsFunc(q.body, func(p pair) bool { return p.name == target }) {
			q.body = append(q.body, pair{target, encode(r.fieldValue(q.op.body.Properties[target].Value))})
		}
	}
	r.rand.Shuffle(len(q.body), func(i, j int) { q.body[i], q.body[j] = q.body[j], q.body[i] })
}

// targetOf is what has to come with a preference that is on.
var targetOf = map[string]string{"slack_notifications": "slack_target", "telegram_notifications": "telegram_chat_id"}

// wayIn is one of the credentials by which a cluster is registered.
func (r *rubbish) wayIn() any {
	ways := []map[string]any{
		{"kubeconfig": aKubeconfig}, {"kubeconfig": aKubeconfig, "context": "staging"}, {"api_server": "https://203.0.113.10:6443", "token": "token", "ca_cert": "authority"},
	}
	return ways[r.rand.IntN(len(ways))]
}

// settings are some of the system settings, each good without the others.
func (r *rubbish) settings() any {
	out := map[string]any{}
	for name, value := range map[string]any{
		"public_base_url": "http://" + host, "registration_enabled": r.rand.IntN(2) == 0, "managed_workload_ingress_base_domain": "apps.example.com",
		"managed_workload_ingress_dns": map[string]any{"cloudflare": map[string]any{"api_token": "token", "api_token_changed": true}},
		"oauth": map[string]any{"providers": []any{
			map[string]any{"name": "company", "display_name": "The company", "type": "oidc", "issuer": "https://id.example.com", "client_id": "x", "enabled": true},
		}},
		"hcaptcha": map[string]any{"site_key": "site", "secret_key": "secret", "secret_key_changed": true},
		"smtp":     map[string]any{"port": 25, "tls": "none"},
	} {
		if r.rand.IntN(2) == 0 {
			out[name] = value
		}
	}
	return out
}

// addressee is whose address a request can be about, and a code that was mailed
// there where one is needed.
func (r *rubbish) addressee(operation string) (email, code string) {
	fresh := r.word("a") + "@kubebyon.test"
	switch operation {
	case "sendRegistrationCode", "sendResetCode":
		return fresh, ""
	case "register":
		return fresh, r.registrationCode(fresh)
	case "resetPassword":
		r.account(fresh, actor.User)
		return fresh, r.resetCode(fresh)
	}
	return userEmail, ""
}

func (r *rubbish) fieldValue(s *openapi3.Schema) any {
	switch {
	case len(s.Enum) > 0:
		return s.Enum[r.rand.IntN(len(s.Enum))]
	case s.Type.Is("boolean"):
		return r.rand.IntN(2) == 0
	case s.Min != nil && s.Max != nil:
		return []any{*s.Min, *s.Max, example(s, nil)}[r.rand.IntN(3)]
	}
	return example(s, nil)
}

func encode(v any) string {
	text, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return string(text)
}

// word is a lower-case word that was not there before.
func (r *rubbish) word(prefix string) string { return fmt.Sprintf("%s%d", prefix, r.rand.Uint64()) }

// credential adds who asks: mostly somebody who may.
func (r *rubbish) credential(q *rubbishRequest) {
	who := []string{userEmail, userEmail, userEmail, adminEmail, adminEmail, operatorMail, otherEmail, ""}[r.rand.IntN(8)]
	if q.op.open && r.rand.IntN(2) == 0 {
		who = ""
	}
	if strings.Contains(q.op.path, "/admin/") && who != "" && r.rand.IntN(2) == 0 {
		who = adminEmail
	}
	if who == "" {
		return
	}
	c := r.people[who]
	switch q.op.id {
	case "completeSSO", "login", "logout", "register": // the session will be gone
		c = r.as(who)
	case "deleteCurrentUser": // and the account
		fresh := r.word("g") + "@kubebyon.test"
		r.account(fresh, actor.User)
		c = r.as(fresh)
	}
	if cookie := c.header.Get("Cookie"); cookie != "" {
		q.headers = append(q.headers, pair{"Cookie", cookie})
	} else {
		r.t.Fatalf("%s has no %s", who, session.CookieName)
	}
}

// remember keeps what later requests can go on from.
func (r *rubbish) remember(q *rubbishRequest, a answer) {
	if !strings.HasSuffix(a.Header().Get("Content-Type"), "json") || strings.HasPrefix(a.Body.String(), "[") {
		return
	}
	if next, ok := a.json()["next_cursor"].(string); ok {
		r.cursors[q.op.id] = next
	}
}

func (q *rubbishRequest) target() string {
	if len(q.query) == 0 {
		return q.path
	}
	var parts []string
	for _, p := range q.query {
		parts = append(parts, p.name+"="+p.value)
	}
	return q.path + "?" + strings.Join(parts, "&")
}

func (q *rubbishRequest) object() string {
	var parts []string
	for _, p := range q.body {
		parts = append(parts, p.name+":"+p.value)
	}
	return "{" + strings.Join(parts, ",") + "}"
}

// wire is the request as it goes over the line.
func (q *rubbishRequest) wire() []byte {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s HTTP/1.1\r\n", q.method, q.target())
	body := q.raw
	if body == nil && q.hasBody {
		for i := range q.body {
			if !strings.HasPrefix(q.body[i].name, `"`) {
				q.body[i].name = encode(q.body[i].name)
			}
		}
		body = []byte(q.object())
	}
	headers := q.headers
	if body != nil {
		if !q.hasHeader("Content-Type") {
			headers = append(headers, pair{"Content-Type", "application/json"})
		}
		headers = append(headers, pair{"Content-Length", fmt.Sprint(len(body))})
	}
	for _, h := range headers {
		fmt.Fprintf(&b, "%s: %s\r\n", h.name, h.value)
	}
	b.WriteString("\r\n")
	b.Write(body)
	return []byte(b.String())
}

func (q *rubbishRequest) hasHeader(name string) bool {
	return slices.ContainsFunc(q.headers, func(h pair) bool { return strings.EqualFold(h.name, name) })
}

func (q *rubbishRequest) setHeader(name, value string) {
	q.headers = slices.DeleteFunc(q.headers, func(h pair) bool { return strings.EqualFold(h.name, name) })
	q.headers = append(q.headers, pair{name, value})
}
