// record stands before a builder and writes down what clients ask its frontends, and what they are answered:
//
//	record SOCKET BUILDER FILE
//
// Everything goes through to the builder unchanged. FILE gets one line of JSON for each question: the options, and a
// digest of the graph of each input and of each result. What differs from run to run by nature is left out of the graphs
// first: sessions and the like, and with them BuildKit's own digests.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"net"
	"os"
	"sync"

	gateway "github.com/moby/buildkit/frontend/gateway/pb"
	"github.com/moby/buildkit/solver/pb"
	"github.com/opencontainers/go-digest"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/metadata"
)

const solve = "/moby.buildkit.v1.frontend.LLBBridge/Solve"

// ofARun are the attributes of a source that differ from run to run.
var ofARun = []string{"local.session", "local.unique"}

// question is a line of the file.
type question struct {
	Options map[string]string   `json:"options"`
	Inputs  map[string][]string `json:"inputs"`
	Results map[string][]string `json:"results"`
}

func main() {
	if err := record(os.Args[1], os.Args[2], os.Args[3]); err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
}

func record(socket, builder, file string) error {
	lines, err := os.OpenFile(file, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	sizes := grpc.WithDefaultCallOptions(grpc.ForceCodecV2(untouched{}), grpc.MaxCallRecvMsgSize(math.MaxInt32),
		grpc.MaxCallSendMsgSize(math.MaxInt32))
	there, err := grpc.NewClient("unix://"+builder, grpc.WithTransportCredentials(insecure.NewCredentials()), sizes)
	if err != nil {
		return err
	}
	listener, err := net.Listen("unix", socket)
	if err != nil {
		return err
	}
	proxy := &proxy{there: there, lines: lines}
	server := grpc.NewServer(grpc.ForceServerCodecV2(untouched{}), grpc.UnknownServiceHandler(proxy.pass),
		grpc.MaxRecvMsgSize(math.MaxInt32), grpc.MaxSendMsgSize(math.MaxInt32))
	return server.Serve(listener)
}

type proxy struct {
	there *grpc.ClientConn
	mutex sync.Mutex
	lines io.Writer
}

// pass hands a call on, whatever it is.
func (proxy *proxy) pass(_ any, here grpc.ServerStream) error {
	method, _ := grpc.MethodFromServerStream(here)
	ctx, cancel := context.WithCancel(here.Context())
	defer cancel()
	if sent, has := metadata.FromIncomingContext(ctx); has {
		sent = sent.Copy()
		for _, own := range []string{":authority", "content-type", "user-agent"} {
			sent.Delete(own)
		}
		ctx = metadata.NewOutgoingContext(ctx, sent)
	}
	both := &grpc.StreamDesc{StreamName: method, ServerStreams: true, ClientStreams: true}
	there, err := grpc.NewClientStream(ctx, both, proxy.there, method)
	if err != nil {
		return err
	}
	var asked []byte
	go func() {
		for {
			var message []byte
			if err := here.RecvMsg(&message); err != nil {
				there.CloseSend()
				return
			}
			if method == solve {
				asked = message
			}
			if there.SendMsg(&message) != nil {
				return
			}
		}
	}()
	for first := true; ; first = false {
		var message []byte
		if err := there.RecvMsg(&message); err != nil {
			here.SetTrailer(there.Trailer())
			if err == io.EOF {
				return nil
			}
			return err
		}
		if header, err := there.Header(); first && err == nil {
			here.SetHeader(header)
		}
		if method == solve {
			if err := proxy.note(asked, message); err != nil {
				return err
			}
		}
		if err := here.SendMsg(&message); err != nil {
			return err
		}
	}
}

// note writes a question to a frontend and its answer down.
func (proxy *proxy) note(asked, answered []byte) error {
	var request gateway.SolveRequest
	var response gateway.SolveResponse
	if err := request.UnmarshalVT(asked); err != nil {
		return err
	}
	if err := response.UnmarshalVT(answered); err != nil {
		return err
	}
	if request.Frontend == "" {
		return nil
	}
	noted := question{Options: request.FrontendOpt, Inputs: map[string][]string{}, Results: map[string][]string{}}
	graphs := func(of map[string][]string, name string, definition *pb.Definition) error {
		graph, err := digests(definition)
		of[name] = graph
		return err
	}
	for name, input := range request.FrontendInputs {
		if err := graphs(noted.Inputs, name, input); err != nil {
			return err
		}
	}
	if ref := response.GetResult().GetRef(); ref != nil {
		if err := graphs(noted.Results, "", ref.Def); err != nil {
			return err
		}
	}
	for platform, ref := range response.GetResult().GetRefs().GetRefs() {
		if err := graphs(noted.Results, platform, ref.Def); err != nil {
			return err
		}
	}
	line, err := json.Marshal(noted)
	if err != nil {
		return err
	}
	proxy.mutex.Lock()
	defer proxy.mutex.Unlock()
	_, err = proxy.lines.Write(append(line, '\n'))
	return err
}

// digests are those of a definition's operations in their order, without what is of a run; an operation's digest comprises
// those of its inputs, and the last one the whole graph.
func digests(definition *pb.Definition) ([]string, error) {
	known := map[string]string{}
	all := []string{}
	for _, bytes := range definition.GetDef() {
		var op pb.Op
		if err := op.UnmarshalVT(bytes); err != nil {
			return nil, err
		}
		for _, input := range op.Inputs {
			own, has := known[input.Digest]
			if !has {
				return nil, fmt.Errorf("%s comes after what it is made to", input.Digest)
			}
			input.Digest = own
		}
		if source := op.GetSource(); source != nil {
			for _, name := range ofARun {
				delete(source.Attrs, name)
			}
		}
		plain, err := op.Marshal()
		if err != nil {
			return nil, err
		}
		own := digest.FromBytes(plain).String()
		known[digest.FromBytes(bytes).String()] = own
		all = append(all, own)
	}
	return all, nil
}

// untouched is a codec that leaves messages as they are.
type untouched struct{}

var _ encoding.CodecV2 = untouched{}

func (untouched) Marshal(message any) (mem.BufferSlice, error) {
	return mem.BufferSlice{mem.SliceBuffer(*message.(*[]byte))}, nil
}

func (untouched) Unmarshal(data mem.BufferSlice, message any) error {
	*message.(*[]byte) = data.Materialize()
	return nil
}

func (untouched) Name() string { return "proto" }
