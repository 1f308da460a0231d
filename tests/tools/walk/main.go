// walk opens every result of a Dockerfile's graph, one after the other, in one gateway build: the plain way
// to have BuildKit fetch and unpack everything, which the bench holds cachewarm against.
//
//	walk SOCKET CONTEXT CACHE
package main

import (
	"context"
	"fmt"
	"os"

	"github.com/moby/buildkit/client"
	gateway "github.com/moby/buildkit/frontend/gateway/client"
	"github.com/moby/buildkit/solver/pb"
	"github.com/opencontainers/go-digest"
	"github.com/tonistiigi/fsutil"
)

func main() {
	if err := walk(context.Background(), os.Args[1], os.Args[2], os.Args[3]); err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
}

func walk(ctx context.Context, socket, folder, cache string) error {
	builder, err := client.New(ctx, "unix://"+socket)
	if err != nil {
		return err
	}
	defer builder.Close()
	files, err := fsutil.NewFS(folder)
	if err != nil {
		return err
	}
	imports := []gateway.CacheOptionsEntry{{Type: "registry", Attrs: map[string]string{"ref": cache}}}
	options := client.SolveOpt{LocalMounts: map[string]fsutil.FS{"context": files, "dockerfile": files}}
	_, err = builder.Build(ctx, options, "walk", func(ctx context.Context, build gateway.Client) (*gateway.Result, error) {
		result, err := build.Solve(ctx, gateway.SolveRequest{Frontend: "dockerfile.v0", CacheImports: imports})
		if err != nil {
			return nil, err
		}
		definition, err := definitionOf(ctx, result)
		if err != nil {
			return nil, err
		}
		parts, err := parts(definition)
		if err != nil {
			return nil, err
		}
		for _, part := range parts {
			result, err := build.Solve(ctx, gateway.SolveRequest{Definition: part, CacheImports: imports})
			if err != nil {
				return nil, err
			}
			if result.Ref == nil {
				continue
			}
			if _, err := result.Ref.StatFile(ctx, gateway.StatRequest{Path: "/"}); err != nil {
				return nil, err
			}
		}
		return gateway.NewResult(), nil
	}, nil)
	return err
}

func definitionOf(ctx context.Context, result *gateway.Result) (*pb.Definition, error) {
	ref, err := result.SingleRef()
	if err != nil {
		return nil, err
	}
	state, err := ref.ToState()
	if err != nil {
		return nil, err
	}
	definition, err := state.Marshal(ctx)
	if err != nil {
		return nil, err
	}
	return definition.ToPB(), nil
}

// parts gives a definition for every output that anything in the whole uses, inputs first.
func parts(whole *pb.Definition) ([]*pb.Definition, error) {
	type output struct {
		digest string
		index  int64
	}
	var found []*pb.Definition
	seen := map[output]bool{}
	for _, bytes := range whole.Def {
		var op pb.Op
		if err := op.UnmarshalVT(bytes); err != nil {
			return nil, err
		}
		for _, input := range op.Inputs {
			if seen[output{input.Digest, input.Index}] {
				continue
			}
			seen[output{input.Digest, input.Index}] = true
			end, err := (&pb.Op{Inputs: []*pb.Input{input}}).MarshalVT()
			if err != nil {
				return nil, err
			}
			metadata := map[string]*pb.OpMetadata{string(digest.FromBytes(end)): {}}
			for key, value := range whole.Metadata {
				metadata[key] = value
			}
			all := append(append([][]byte{}, whole.Def[:len(whole.Def)-1]...), end)
			found = append(found, &pb.Definition{Def: all, Metadata: metadata, Source: whole.Source})
		}
	}
	return found, nil
}
