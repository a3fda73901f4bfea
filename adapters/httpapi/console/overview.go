package console

import (
	"context"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"github.com/kubebyon/kubebyon/adapters/httpapi/operation"
	"github.com/kubebyon/kubebyon/core/kernel/id"
	"github.com/kubebyon/kubebyon/core/overview"
	"github.com/kubebyon/kubebyon/ports/store"
)

// Overview sums up what the caller may see.
type Overview struct {
	Clusters         Totals     `json:"clusters"`
	Nodes            Totals     `json:"nodes"`
	Capacity         Capacity   `json:"capacity"`
	RecentActivities []Activity `json:"recent_activities" nullable:"false" doc:"The caller's own, newest first."`
}

// Totals count things.
type Totals struct {
	Total    int            `json:"total" example:"3"`
	ByStatus map[string]int `json:"by_status" doc:"Statuses that nothing is in may be left out."`
}

// Capacity is what all nodes together can give to pods.
type Capacity struct {
	CPUMilliCores int64 `json:"cpu_milli_cores" example:"12000"`
	MemoryBytes   int64 `json:"memory_bytes" example:"24980643840"`
}

// Activity is something that somebody did.
type Activity struct {
	ID           string         `json:"id" example:"aud_06evjm9m80zy3f60rzw2n56twg"`
	Type         string         `json:"type" example:"cluster_create_requested"`
	Message      string         `json:"message" example:"Asked for the cluster demo."`
	ClusterID    *string        `json:"cluster_id" example:"cl_06evjm9m80zy3f60rzw2n56twg"`
	ClusterName  *string        `json:"cluster_name" example:"demo"`
	NodeName     *string        `json:"node_name" example:"worker-1"`
	OccurredAt   operation.Time `json:"occurred_at"`
	RelativeTime string         `json:"relative_time" doc:"occurred_at for people." example:"3 minutes ago"`
}

// AuditedActivity is an activity with all that an audit needs.
type AuditedActivity struct {
	Activity
	ActorUserID  *string `json:"actor_user_id" doc:"null: not a person." example:"usr_06evjm9m80zy3f60rzw2n56twg"`
	ActorType    string  `json:"actor_type" doc:"user, node, system." example:"user"`
	ActorMethod  string  `json:"actor_method" doc:"How the actor proved who it is: session, api_key, password, email_code, sso, join_token, process." example:"session"`
	ResourceType string  `json:"resource_type" example:"cluster"`
	ResourceID   *string `json:"resource_id" example:"cl_06evjm9m80zy3f60rzw2n56twg"`
	Action       string  `json:"action" example:"create_requested"`
	Result       string  `json:"result" doc:"success or failure." example:"success"`
}

// ActivityList is one page of activities.
type ActivityList struct {
	Activities []Activity `json:"activities" nullable:"false"`
	NextCursor *string    `json:"next_cursor" doc:"null on the last page." example:"YXVkXzA2ZXZqbTltODB6eTNmNjByencybjU2dHdn"`
}

// AuditedActivityList is one page of everybody's activities.
type AuditedActivityList struct {
	Activities []AuditedActivity `json:"activities" nullable:"false"`
	NextCursor *string           `json:"next_cursor" doc:"null on the last page." example:"YXVkXzA2ZXZqbTltODB6eTNmNjByencybjU2dHdn"`
}

type overviewOut struct{ Body Overview }

type activitiesIn struct {
	Category     string `query:"category" doc:"security, or nothing. An unknown one gives an empty list." example:"security"`
	ResourceType string `query:"resource_type" example:"token"`
	Action       string `query:"action" example:"revoke"`
	operation.Paged
}

type activitiesOut struct{ Body ActivityList }

type auditedOut struct{ Body AuditedActivityList }

func (h console) registerOverview() {
	operation.SignedIn(h.api, huma.Operation{
		OperationID: "getOverview", Method: http.MethodGet, Path: "/api/console/overview", Tags: []string{tagOverview},
		Summary: "See how everything is",
	}, nil, h.overview)
	operation.SignedIn(h.api, huma.Operation{
		OperationID: "listActivities", Method: http.MethodGet, Path: "/api/console/activities", Tags: []string{tagOverview},
		Summary: "See what one did", Description: "What the caller did, newest first. Filters apply before the limit.",
		Parameters: []*huma.Param{operation.LimitParam()},
	}, []string{"validation_failed"}, h.activities)
	operation.SignedIn(h.api, huma.Operation{
		OperationID: "listAllActivities", Method: http.MethodGet, Path: "/api/console/admin/activities", Tags: []string{tagOverview},
		Summary: "See what anybody did", Description: "The audit trail, newest first, for administrators. Filters apply before the limit.",
		Parameters: []*huma.Param{operation.LimitParam()},
	}, []string{"validation_failed", "forbidden"}, h.allActivities)
}

func (h console) overview(ctx context.Context, _ *struct{}) (*overviewOut, error) {
	o, err := h.Overview.Overview(ctx)
	return &overviewOut{Overview{
		Clusters: totals(o.ClustersByStatus), Nodes: totals(o.Nodes.ByStatus),
		Capacity:         Capacity{CPUMilliCores: o.Nodes.CPUAllocatableMilli, MemoryBytes: o.Nodes.MemoryAllocatableBytes},
		RecentActivities: each(o.Recent, h.showActivity),
	}}, err
}

func totals(byStatus map[string]int) Totals {
	t := Totals{ByStatus: map[string]int{}}
	for status, n := range byStatus {
		t.ByStatus[status] = n
		t.Total += n
	}
	return t
}

func (h console) activities(ctx context.Context, in *activitiesIn) (*activitiesOut, error) {
	q, err := operation.Query[id.AuditKind](in.Paged)
	if err != nil {
		return nil, err
	}
	f, err := in.filter()
	if err != nil {
		return nil, err
	}
	page, err := h.Overview.Activities(ctx, f, q)
	return &activitiesOut{ActivityList{each(page.Items, h.showActivity), operation.Cursor(page.Next)}}, err
}

func (h console) allActivities(ctx context.Context, in *activitiesIn) (*auditedOut, error) {
	q, err := operation.Query[id.AuditKind](in.Paged)
	if err != nil {
		return nil, err
	}
	f, err := in.filter()
	if err != nil {
		return nil, err
	}
	page, err := h.Overview.AllActivities(ctx, f, q)
	return &auditedOut{AuditedActivityList{each(page.Items, h.showAudited), operation.Cursor(page.Next)}}, err
}

func (in activitiesIn) filter() (overview.Filter, error) {
	for name, text := range map[string]string{"category": in.Category, "resource_type": in.ResourceType, "action": in.Action} {
		if err := operation.Text(name, text); err != nil {
			return overview.Filter{}, err
		}
	}
	return overview.Filter{Category: in.Category, ResourceType: in.ResourceType, Action: in.Action}, nil
}

func (h console) showActivity(e store.AuditEvent) Activity {
	return Activity{
		ID: e.ID.String(), Type: e.ResourceType + "_" + e.Action, Message: e.Message,
		ClusterID: orNull(e.ClusterID.String()), ClusterName: orNull(e.ClusterName), NodeName: orNull(e.NodeName),
		OccurredAt: operation.At(e.OccurredAt), RelativeTime: relative(h.Now().Sub(e.OccurredAt)),
	}
}

func (h console) showAudited(e store.AuditEvent) AuditedActivity {
	return AuditedActivity{
		Activity: h.showActivity(e), ActorUserID: orNull(e.ActorUserID.String()), ActorType: e.ActorType, ActorMethod: e.ActorMethod,
		ResourceType: e.ResourceType, ResourceID: orNull(e.ResourceID), Action: e.Action, Result: e.Result,
	}
}
