package console

import (
	"context"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"github.com/kubebyon/kubebyon/adapters/httpapi/operation"
	"github.com/kubebyon/kubebyon/core/kernel/id"
	"github.com/kubebyon/kubebyon/ports/store"
)

// Delivery is a message on its way, or what became of it.
type Delivery struct {
	ID          string          `json:"id" example:"ntf_06evjm9m80zy3f60rzw2n56twg"`
	Channel     string          `json:"channel" enum:"email,slack,telegram,webhook"`
	Template    string          `json:"template" enum:"welcome,cluster-alert,order-paid,verification-code,password-reset"`
	UserID      *string         `json:"user_id" doc:"Whose target it is; null: nobody's." example:"usr_06evjm9m80zy3f60rzw2n56twg"`
	Target      *string         `json:"target" doc:"Masked; null: where the channel's settings say." example:"a***@example.com"`
	Status      string          `json:"status" enum:"pending,delivered,dead" doc:"dead: given up."`
	Attempts    int             `json:"attempts" doc:"How often somebody took it up." example:"1"`
	LastError   *string         `json:"last_error" example:"The mail server refused the message: no such user."`
	DueAt       *operation.Time `json:"due_at" nullable:"true" doc:"When it is tried next; null: it is over."`
	CreatedAt   operation.Time  `json:"created_at"`
	UpdatedAt   operation.Time  `json:"updated_at"`
	DeliveredAt *operation.Time `json:"delivered_at" nullable:"true"`
}

// DeliveryList is one page of the log.
type DeliveryList struct {
	Deliveries []Delivery `json:"deliveries" nullable:"false"`
	NextCursor *string    `json:"next_cursor" doc:"null on the last page." example:"bnRmXzA2ZXZqbTltODB6eTNmNjByencybjU2dHdn"`
}

type deliveriesIn struct {
	Status   string `query:"status" enum:"pending,delivered,dead" doc:"Only those in this status."`
	Channel  string `query:"channel" enum:"email,slack,telegram,webhook" doc:"Only those through this channel."`
	Template string `query:"template" enum:"welcome,cluster-alert,order-paid,verification-code,password-reset" doc:"Only those of this template."`
	UserID   string `query:"user_id" doc:"Only those to this account's targets." example:"usr_06evjm9m80zy3f60rzw2n56twg"`
	operation.Paged
}

type deliveriesOut struct{ Body DeliveryList }

func (h console) registerDeliveries(path string) {
	operation.SignedIn(h.api, huma.Operation{
		OperationID: "listDeliveries", Method: http.MethodGet, Path: path, Tags: []string{tagAdmin},
		Summary: "See what became of messages", Description: "The messages on their way and those of the last 30 days, newest first. What they say is not kept once they are over, but for those that were given up: 7 days.",
		Parameters: []*huma.Param{operation.LimitParam()},
	}, []string{"validation_failed", "forbidden"}, func(ctx context.Context, in *deliveriesIn) (*deliveriesOut, error) {
		q, err := operation.Query[id.DeliveryKind](in.Paged)
		if err != nil {
			return nil, err
		}
		user, err := operation.Filter[id.UserKind]("user_id", in.UserID)
		if err != nil {
			return nil, err
		}
		page, err := h.Notifications.Deliveries(ctx, store.DeliveryFilter{Status: in.Status, Channel: in.Channel, Template: in.Template, User: user}, q)
		return &deliveriesOut{DeliveryList{each(page.Items, showDelivery), operation.Cursor(page.Next)}}, err
	})
}

// DeliveryRef is a path that names a message. It is exported for huma.
type DeliveryRef struct {
	DeliveryID string `path:"deliveryID" doc:"The message's id in the log." example:"ntf_06evjm9m80zy3f60rzw2n56twg"`
}

// DeliveryAnswer holds a message of the log.
type DeliveryAnswer struct {
	Delivery Delivery `json:"delivery"`
}

type deliveryOut struct{ Body DeliveryAnswer }

func (h console) registerDeliveryRetry(path string) {
	operation.SignedIn(h.api, huma.Operation{
		OperationID: "retryDelivery", Method: http.MethodPost, Path: path + "/{deliveryID}/retry", Tags: []string{tagAdmin},
		Summary: "Send a message again that was given up",
		Description: "For up to 7 days after it was given up. It is tried at once, and from then on as a new one is. " +
			"A message with a code is never sent again, and none to a target that is not the person's own any more.",
	}, []string{"forbidden", "delivery_not_found", "delivery_not_dead", "delivery_not_kept", "delivery_target_gone"},
		func(ctx context.Context, in *DeliveryRef) (*deliveryOut, error) {
			i, err := id.Parse[id.DeliveryKind](in.DeliveryID)
			if err != nil {
				i = id.Delivery{} // who may not ask is told so first
			}
			d, err := h.Notifications.Retry(ctx, i)
			return &deliveryOut{DeliveryAnswer{showDelivery(d)}}, err
		})
}

func showDelivery(d store.Delivery) Delivery {
	out := Delivery{
		ID: d.ID.String(), Channel: d.Channel, Template: d.Template, UserID: orNull(d.UserID.String()), Target: orNull(d.Target),
		Status: d.Status, Attempts: d.Attempts, LastError: orNull(d.LastError),
		CreatedAt: operation.At(d.CreatedAt), UpdatedAt: operation.At(d.UpdatedAt), DeliveredAt: operation.MaybeAt(d.DeliveredAt),
	}
	if d.Status == store.DeliveryPending {
		out.DueAt = operation.MaybeAt(&d.DueAt)
	}
	return out
}
