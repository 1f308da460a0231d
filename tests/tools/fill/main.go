// fill has a builder make a state root of many small layers, which the bench of `cachewarm check` reads: so many chains
// of so many steps, each of which writes so many files.
//
//	fill SOCKET CHAINS STEPS FILES
package main

import (
	"context"
	"fmt"
	"os"
	"strconv"

	"github.com/moby/buildkit/client"
	"github.com/moby/buildkit/client/llb"
	"golang.org/x/sync/errgroup"
)

// atOnce is how many chains are built at the same time.
const atOnce = 8

func main() {
	if err := fill(context.Background(), os.Args[1], os.Args[2:]); err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
}

func fill(ctx context.Context, socket string, arguments []string) error {
	var numbers [3]int
	for at := range numbers {
		number, err := strconv.Atoi(arguments[at])
		if err != nil {
			return err
		}
		numbers[at] = number
	}
	builder, err := client.New(ctx, "unix://"+socket)
	if err != nil {
		return err
	}
	defer builder.Close()
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(atOnce)
	for number := range numbers[0] {
		group.Go(func() error {
			definition, err := chain(number, numbers[1], numbers[2]).Marshal(ctx, llb.LinuxAmd64)
			if err != nil {
				return err
			}
			_, err = builder.Solve(ctx, definition, client.SolveOpt{}, nil)
			return err
		})
	}
	return group.Wait()
}

// chain is steps on top of each other, none of which any other chain has.
func chain(number, steps, files int) llb.State {
	state := llb.Scratch()
	for step := range steps {
		folder := fmt.Sprintf("/%d-%d", number, step)
		action := llb.Mkdir(folder, 0o755)
		for file := range files {
			action = action.Mkfile(fmt.Sprintf("%s/%d", folder, file), 0o644, fmt.Appendf(nil, "%d %d %d\n", number, step, file))
		}
		state = state.File(action, llb.WithCustomNamef("chain %d step %d", number, step))
	}
	return state
}
