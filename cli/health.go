package cli

import (
	"context"

	"raytap/ray"
)

type prober interface {
	Health(ctx context.Context) error
	Version(ctx context.Context) (ray.Version, error)
}

// showHealth checks that a cluster is reachable and shows its version.
func showHealth(ctx context.Context, from prober, p printer) error {
	if err := from.Health(ctx); err != nil {
		return err
	}
	v, err := from.Version(ctx)
	if err != nil {
		return err
	}
	return p.print(healthView(v), func() string {
		return renderFields([]field{{"Status", cell{"reachable", green}}, {"Ray", text(v.Ray)}, {"Commit", text(v.Commit)}, {"Session", text(v.Session)}}, p.Colors)
	})
}
