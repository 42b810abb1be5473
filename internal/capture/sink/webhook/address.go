package webhook

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"syscall"
)

// errAddress says that a webhook leads into the network that Daymill runs in.
var errAddress = errors.New("it is not a public address: set allow_private for a webhook of your own network")

// special are ranges that are no public unicast addresses, besides those that netip has a method for.
//
//nolint:gochecknoglobals // A table.
var special = []netip.Prefix{
	netip.MustParsePrefix("0.0.0.0/8"),       // this network
	netip.MustParsePrefix("100.64.0.0/10"),   // shared by carriers, and by clouds
	netip.MustParsePrefix("192.0.0.0/24"),    // protocol assignments
	netip.MustParsePrefix("192.0.2.0/24"),    // documentation
	netip.MustParsePrefix("198.18.0.0/15"),   // benchmarks
	netip.MustParsePrefix("198.51.100.0/24"), // documentation
	netip.MustParsePrefix("203.0.113.0/24"),  // documentation
	netip.MustParsePrefix("240.0.0.0/4"),     // reserved, and broadcast
	netip.MustParsePrefix("2001::/23"),       // Teredo and others, which carry IPv4
	netip.MustParsePrefix("2001:db8::/32"),   // documentation
	netip.MustParsePrefix("2002::/16"),       // 6to4, which carries IPv4
}

// unicast is where public IPv6 addresses are from. NAT64, which carries IPv4, is outside of it.
//
//nolint:gochecknoglobals // A constant.
var unicast = netip.MustParsePrefix("2000::/3")

// public reports whether an address is one of the public internet.
func public(address netip.Addr) bool {
	address = address.Unmap().WithZone("")
	if !address.IsGlobalUnicast() || address.IsPrivate() {
		return false
	}
	if address.Is6() && !unicast.Contains(address) {
		return false
	}
	for _, prefix := range special {
		if prefix.Contains(address) {
			return false
		}
	}
	return true
}

// refusePrivate is the Control of a dialer: it sees the address that is dialled after the name was looked up, so that a name
// which leads elsewhere on the second look is no way in.
func refusePrivate(_, address string, _ syscall.RawConn) error {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return fmt.Errorf("read the address: %w", err)
	}
	parsed, err := netip.ParseAddr(host)
	if err != nil {
		return fmt.Errorf("read the address: %w", err)
	}
	if !public(parsed) {
		return errAddress
	}
	return nil
}
