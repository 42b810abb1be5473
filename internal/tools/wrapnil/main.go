// Command wrapnil is a vet tool. It reports each fmt.Errorf that wraps an error with %w that may be nil: its text would end with
// %!w(<nil>). That happens where one branch handles both an error and a bad value, as in
//
//	if err != nil || len(values) == 0 {
//		return fmt.Errorf("read values: %w", err)
//	}
//
// `make lint` runs it. Parameters and fields count as not nil, and so does what a function returns for an error that is not nil.
package main

import (
	"go/constant"
	"go/token"
	"go/types"
	"strings"

	"golang.org/x/tools/go/analysis"
	"golang.org/x/tools/go/analysis/passes/buildssa"
	"golang.org/x/tools/go/analysis/unitchecker"
	"golang.org/x/tools/go/ssa"
)

func main() {
	unitchecker.Main(&analysis.Analyzer{
		Name: "wrapnil", Doc: "report fmt.Errorf with %w and an error that may be nil",
		Requires: []*analysis.Analyzer{buildssa.Analyzer}, Run: run,
	})
}

func run(pass *analysis.Pass) (any, error) {
	built, _ := pass.ResultOf[buildssa.Analyzer].(*buildssa.SSA)
	for _, function := range built.SrcFuncs {
		if strings.HasSuffix(pass.Fset.Position(function.Pos()).Filename, "_test.go") { // require.Error checks there.
			continue
		}
		for _, block := range function.Blocks {
			for _, instruction := range block.Instrs {
				call, is := instruction.(*ssa.Call)
				if !is || !wraps(call) {
					continue
				}
				for _, value := range errorsOf(call) {
					if !notNil(value, block, map[ssa.Value]bool{}) {
						pass.Reportf(call.Pos(), "fmt.Errorf wraps an error with %%w that may be nil")
					}
				}
			}
		}
	}
	return nil, nil
}

// wraps reports whether a call is fmt.Errorf with a %w.
func wraps(call *ssa.Call) bool {
	function := call.Call.StaticCallee()
	if function == nil || function.String() != "fmt.Errorf" {
		return false
	}
	format, is := call.Call.Args[0].(*ssa.Const)
	return !is || strings.Contains(constant.StringVal(format.Value), "%w")
}

// errorsOf returns the arguments of a variadic call that are of the type error.
func errorsOf(call *ssa.Call) (values []ssa.Value) {
	slice, is := call.Call.Args[1].(*ssa.Slice)
	if !is {
		return nil
	}
	for _, element := range *slice.X.Referrers() {
		address, is := element.(*ssa.IndexAddr)
		if !is {
			continue
		}
		for _, user := range *address.Referrers() {
			store, is := user.(*ssa.Store)
			if !is {
				continue
			}
			value := store.Val
			if change, is := value.(*ssa.ChangeInterface); is {
				value = change.X
			}
			if isError(value) {
				values = append(values, value)
			}
		}
	}
	return values
}

func isError(value ssa.Value) bool {
	return types.Identical(value.Type(), types.Universe.Lookup("error").Type())
}

// notNil reports whether a value is certainly not nil in a block.
func notNil(value ssa.Value, block *ssa.BasicBlock, seen map[ssa.Value]bool) bool {
	if seen[value] {
		return true
	}
	seen[value] = true
	switch value := value.(type) {
	case *ssa.Const:
		return !value.IsNil()
	case *ssa.MakeInterface, *ssa.Parameter, *ssa.FreeVar:
		return true
	case *ssa.UnOp: // A variable; those of packages and fields are set elsewhere.
		switch value.X.(type) {
		case *ssa.Global, *ssa.FieldAddr, *ssa.IndexAddr:
			return true
		}
	case *ssa.Field:
		return true
	case *ssa.Call:
		if makesError(value, block, seen) {
			return true
		}
	case *ssa.Phi:
		all := true
		for i, edge := range value.Edges {
			from := value.Block().Preds[i]
			all = all && (notNil(edge, from, seen) || implies(edge, from, value.Block()))
		}
		if all {
			return true
		}
	}
	for b := block; b != nil; b = b.Idom() {
		all := len(b.Preds) > 0
		for _, from := range b.Preds {
			all = all && implies(value, from, b)
		}
		if all {
			return true
		}
	}
	return false
}

// makesError reports whether a call returns an error, because it makes one or gets one that is not nil.
func makesError(call *ssa.Call, block *ssa.BasicBlock, seen map[ssa.Value]bool) bool {
	if call.Call.IsInvoke() {
		return call.Call.Method.Name() == "Err" // Of a context that is done.
	}
	if function := call.Call.StaticCallee(); function != nil {
		switch function.String() {
		case "context.Cause", "errors.Join", "errors.New", "fmt.Errorf":
			return true
		}
	}
	for _, argument := range call.Call.Args {
		if isError(argument) && notNil(argument, block, seen) {
			return true
		}
	}
	return false
}

// implies reports whether a value is not nil if the program goes from one block to another.
func implies(value ssa.Value, from, to *ssa.BasicBlock) bool {
	branch, is := from.Instrs[len(from.Instrs)-1].(*ssa.If)
	return is && from.Succs[0] != from.Succs[1] && holds(branch.Cond, value, from.Succs[0] == to)
}

// holds reports whether a value is not nil if a condition has a result.
func holds(condition, value ssa.Value, result bool) bool {
	switch condition := condition.(type) {
	case *ssa.BinOp: // err != nil, or code(err) != ""
		call, is := condition.X.(*ssa.Call)
		if is && has(call, value) || same(condition.X, value) && isNil(condition.Y) || same(condition.Y, value) && isNil(condition.X) {
			return (condition.Op == token.NEQ) == result
		}
	case *ssa.UnOp:
		return condition.Op == token.NOT && holds(condition.X, value, !result)
	case *ssa.Call: // errors.Is(err, …), or another predicate
		return result && has(condition, value)
	case *ssa.Extract: // errors.AsType[T](err)
		call, is := condition.Tuple.(*ssa.Call)
		return is && result && has(call, value)
	}
	return false
}

func has(call *ssa.Call, value ssa.Value) bool {
	for _, argument := range call.Call.Args {
		if same(argument, value) {
			return true
		}
	}
	return false
}

// same reports whether two values are one, or are read from one variable.
func same(a, b ssa.Value) bool {
	if a == b {
		return true
	}
	x, isX := a.(*ssa.UnOp)
	y, isY := b.(*ssa.UnOp)
	return isX && isY && x.Op == token.MUL && y.Op == token.MUL && x.X == y.X
}

func isNil(value ssa.Value) bool {
	constant, is := value.(*ssa.Const)
	return is && constant.IsNil()
}
