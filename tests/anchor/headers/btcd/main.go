// Asks btcd's own header checks about one chain, header by header; a witness for the tests, from other code than ours.
//
// Standard input: one line of JSON with the network's parameters (see rules), then raw headers of 80 bytes each. The
// first is the genesis and is taken on trust; every other one is offered upon the newest accepted one, and becomes the
// newest when btcd accepts it. Standard output: a line for each header offered, "ok" or the rule that btcd names.
package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/big"
	"os"
	"time"

	"github.com/btcsuite/btcd/blockchain"
	"github.com/btcsuite/btcd/chaincfg/v2"
	"github.com/btcsuite/btcd/chainhash/v2"
	"github.com/btcsuite/btcd/wire/v2"
)

// rules is the JSON line: times in seconds, pow_limit in hex, heights from which old versions are refused.
type rules struct {
	PowLimit      string   `json:"pow_limit"`
	LimitBits     uint32   `json:"limit_bits"`
	Interval      int32    `json:"interval"`
	Spacing       int64    `json:"spacing"`
	MinDifficulty bool     `json:"min_difficulty"`
	ConstantBits  bool     `json:"constant_bits"`
	BIP94         bool     `json:"bip94"`
	Versions      [3]int32 `json:"versions"` // refusing 1 (BIP34), 2 (BIP66), 3 (BIP65)
}

// node is an accepted header; the list from the newest to genesis is the chain.
type node struct {
	height int32
	bits   uint32
	time   int64
	parent *node
}

func (n *node) Height() int32    { return n.height }
func (n *node) Bits() uint32     { return n.bits }
func (n *node) Timestamp() int64 { return n.time }

func (n *node) Parent() blockchain.HeaderCtx {
	if n.parent == nil {
		return nil // a nil *node inside the interface would not compare equal to nil
	}
	return n.parent
}

func (n *node) RelativeAncestorCtx(distance int32) blockchain.HeaderCtx {
	at := n
	for ; distance > 0 && at != nil; distance-- {
		at = at.parent
	}
	if at == nil {
		return nil
	}
	return at
}

// chain gives btcd the parameters; checkpoints are left out.
type chain struct{ params chaincfg.Params }

func (c *chain) ChainParams() *chaincfg.Params { return &c.params }

func (c *chain) BlocksPerRetarget() int32 {
	return int32(c.params.TargetTimespan / c.params.TargetTimePerBlock)
}

func (c *chain) MinRetargetTimespan() int64 {
	return int64(c.params.TargetTimespan/time.Second) / c.params.RetargetAdjustmentFactor
}

func (c *chain) MaxRetargetTimespan() int64 {
	return int64(c.params.TargetTimespan/time.Second) * c.params.RetargetAdjustmentFactor
}

func (c *chain) VerifyCheckpoint(int32, *chainhash.Hash) bool { return true }

func (c *chain) FindPreviousCheckpoint() (blockchain.HeaderCtx, error) { return nil, nil }

// endOfTime is a clock later than any header, so that the two-hour rule, which is no consensus, says nothing.
type endOfTime struct{}

func (endOfTime) AdjustedTime() time.Time         { return time.Unix(1<<33, 0) }
func (endOfTime) AddTimeSample(string, time.Time) {}
func (endOfTime) Offset() time.Duration           { return 0 }

func newChain(r rules) (*chain, error) {
	limit, ok := new(big.Int).SetString(r.PowLimit, 16)
	if !ok {
		return nil, fmt.Errorf("pow_limit %q is no hex number", r.PowLimit)
	}
	spacing := time.Duration(r.Spacing) * time.Second
	return &chain{chaincfg.Params{
		PowLimit:                 limit,
		PowLimitBits:             r.LimitBits,
		PoWNoRetargeting:         r.ConstantBits,
		EnforceBIP94:             r.BIP94,
		BIP0034Height:            r.Versions[0],
		BIP0066Height:            r.Versions[1],
		BIP0065Height:            r.Versions[2],
		TargetTimespan:           spacing * time.Duration(r.Interval),
		TargetTimePerBlock:       spacing,
		RetargetAdjustmentFactor: 4,
		ReduceMinDifficulty:      r.MinDifficulty,
		MinDiffReductionTime:     2 * spacing,
	}}, nil
}

// check returns nil when btcd would accept the header upon tip.
func (c *chain) check(header *wire.BlockHeader, tip *node, tipHash chainhash.Hash) error {
	if header.PrevBlock != tipHash {
		return errors.New("ErrPreviousBlockUnknown")
	}
	err := blockchain.CheckBlockHeaderSanity(header, c.params.PowLimit, endOfTime{}, blockchain.BFNone)
	if err != nil {
		return err
	}
	return blockchain.CheckBlockHeaderContext(header, tip, blockchain.BFNone, c, true)
}

func word(err error) string {
	var broken blockchain.RuleError
	switch {
	case err == nil:
		return "ok"
	case errors.As(err, &broken) && broken.ErrorCode == blockchain.ErrTimewarpAttack:
		return "ErrTimewarpAttack" // v0.26 has no string for it
	case errors.As(err, &broken):
		return broken.ErrorCode.String()
	default:
		return err.Error()
	}
}

func run(in *bufio.Reader, out *bufio.Writer) error {
	line, err := in.ReadBytes('\n')
	if err != nil {
		return fmt.Errorf("the first line is the rules as JSON: %w", err)
	}
	var r rules
	if err := json.Unmarshal(line, &r); err != nil {
		return err
	}
	c, err := newChain(r)
	if err != nil {
		return err
	}
	var tip *node
	var tipHash chainhash.Hash
	raw := make([]byte, wire.MaxBlockHeaderPayload)
	for {
		if _, err := io.ReadFull(in, raw); err == io.EOF {
			return nil
		} else if err != nil {
			return err
		}
		var header wire.BlockHeader
		if err := header.Deserialize(bytes.NewReader(raw)); err != nil {
			return err
		}
		next := &node{bits: header.Bits, time: header.Timestamp.Unix()}
		if tip != nil {
			verdict := c.check(&header, tip, tipHash)
			fmt.Fprintln(out, word(verdict))
			if verdict != nil {
				continue
			}
			next.height, next.parent = tip.height+1, tip
		}
		tip, tipHash = next, header.BlockHash()
	}
}

func main() {
	out := bufio.NewWriter(os.Stdout)
	err := run(bufio.NewReaderSize(os.Stdin, 1<<16), out)
	if flushed := out.Flush(); err == nil {
		err = flushed
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
