package kubetenant

import (
	"context"
	"encoding/json"
	"errors"
	"strconv"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/kubebyon/kubebyon/core/kernel/fault"
	"github.com/kubebyon/kubebyon/ports/tenant"
)

// namesOnly asks for objects without what is not looked at when they are
// counted or skipped.
const namesOnly = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=1,application/json"

// maxRestarts is how often a list whose pages have expired is begun anew.
const maxRestarts = 3

var errRestart = errors.New("the list has expired between two pages")

// List reads a kind page by page. As long as the order is the API's own and
// nothing is left out, it reads what is asked for, skips by name what comes
// before, and takes the API's word for how many come after.
func (t *cluster) List(ctx context.Context, k tenant.Kind, q tenant.Query) (tenant.Page, error) {
	if err := selectors(q); err != nil {
		return tenant.Page{}, err
	}
	to, err := all(k, q.Namespace)
	if err != nil {
		return tenant.Page{}, err
	}
	within, cancel := context.WithTimeout(ctx, t.config.ListTimeout)
	defer cancel()
	defer t.hold()()
	for range maxRestarts {
		pick, err := tenant.NewPick(q)
		if err != nil {
			return tenant.Page{}, err
		}
		l := &listing{t: t, what: "list " + k.Resource, to: to, q: q, pick: pick, most: t.config.PageSize}
		page, err := l.run(within)
		if !errors.Is(err, errRestart) {
			return page, explain(ctx, l.what, err)
		}
	}
	return tenant.Page{}, explain(ctx, "list "+k.Resource, errEndless)
}

func selectors(q tenant.Query) error {
	if _, err := labels.Parse(q.Labels); err != nil {
		return badSelector().Because(short{err})
	}
	if _, err := fields.ParseSelector(q.Fields); err != nil {
		return badSelector().Because(short{err})
	}
	return nil
}

func badSelector() *fault.Error {
	return fault.Invalid.New("selector_invalid", "The selector of labels or fields is not one that the cluster understands.")
}

// listing is one list under way.
type listing struct {
	t    *cluster
	what string
	to   []string
	q    tenant.Query
	pick *tenant.Pick
	most int // objects of a page
	next string
	seen int
}

// direct: the page is a part of what the API lists, in its order.
func (l *listing) direct() bool { return l.q.Keep == nil && l.q.Order == nil }

func (l *listing) run(ctx context.Context) (tenant.Page, error) {
	out := tenant.Page{Items: []tenant.Object{}}
	var size int64
	for pages := 0; ; pages++ {
		if pages > 4*tenant.MaxReach {
			return out, errEndless
		}
		names, want := l.plan()
		got, err := l.page(ctx, names, want)
		switch {
		case errors.Is(err, errTooLarge) && l.most > 1:
			l.most = max(1, l.most/8)
			continue
		case err != nil:
			return out, err
		}
		for _, item := range got.Items {
			if l.direct() {
				if i := l.seen; !names && i >= l.q.Offset && i < l.q.Offset+l.q.Limit {
					o, err := got.object(l.what, item)
					if err != nil {
						return out, err
					}
					out.Items = append(out.Items, o)
					size += int64(len(item))
				}
			} else {
				o, err := got.object(l.what, item)
				if err != nil {
					return out, err
				}
				size = l.pick.Add(o, int64(len(item)))
			}
			l.seen++
		}
		if size > l.t.config.MaxListBytes {
			return out, errTooLarge
		}
		if l.next = got.Metadata.Continue; l.next == "" {
			break
		}
		if left := got.Metadata.Remaining; l.direct() && left != nil && l.seen >= l.q.Offset+l.q.Limit {
			l.seen += int(max(*left, 0))
			break
		}
	}
	if !l.direct() {
		return l.pick.Page(), nil
	}
	out.Total = l.seen
	return out, nil
}

// plan says how many objects to ask for next, and whether their names will do.
func (l *listing) plan() (names bool, want int) {
	reach := l.q.Offset + l.q.Limit
	switch {
	case !l.direct():
		return l.q.Keep == nil && l.q.Limit == 0, l.most
	case l.q.Limit > 0 && l.seen < l.q.Offset:
		return true, min(l.most, l.q.Offset-l.seen)
	case l.seen < reach && l.q.Limit > 0:
		return false, min(l.most, reach-l.seen)
	case l.seen == 0 && l.q.Labels == "" && l.q.Fields == "":
		return true, 1 // the API tells how many are left where nothing is selected
	}
	return true, l.most
}

// sheet is a page of the API.
type sheet struct {
	APIVersion, Kind string
	Metadata         struct {
		Continue  string
		Remaining *int64 `json:"remainingItemCount"`
	}
	Items []json.RawMessage
}

func (l *listing) page(ctx context.Context, names bool, want int) (out sheet, err error) {
	r := l.t.objects.Get().AbsPath(l.to...).SetHeader("Accept", "application/json").Param("limit", strconv.Itoa(want))
	if names {
		r.SetHeader("Accept", namesOnly)
	}
	for key, value := range map[string]string{"continue": l.next, "labelSelector": l.q.Labels, "fieldSelector": l.q.Fields} {
		if value != "" {
			r.Param(key, value)
		}
	}
	err = l.t.call(ctx, l.what, func(ctx context.Context) error {
		body, err := sent(ctx, r)
		if err != nil {
			return l.fault(err)
		}
		if err := json.Unmarshal(body, &out); err != nil || !strings.HasSuffix(out.Kind, "List") {
			return unreachable("What answers at the cluster's address is not a Kubernetes API server.", l.what, errNoObject)
		}
		return nil
	})
	return out, err
}

func (l *listing) fault(err error) error {
	if apierrors.IsResourceExpired(err) && l.next != "" {
		return errRestart
	}
	err = objectFault(l.what, err)
	if fault.CodeOf(err) == "object_invalid" && (l.q.Fields != "" || l.q.Labels != "") {
		return badSelector().Because(err)
	}
	return err
}

// object reads an item, and writes down what kind it is: in a list, the API
// says so only once.
func (p *sheet) object(step string, item json.RawMessage) (tenant.Object, error) {
	o, err := decode(step, item)
	if err != nil {
		return nil, err
	}
	if _, ok := o["kind"]; !ok {
		o["kind"], o["apiVersion"] = strings.TrimSuffix(p.Kind, "List"), p.APIVersion
	}
	return o, nil
}
