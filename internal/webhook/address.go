package webhook

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"syscall"
)

// errAddress says that an address is not public.
var errAddress = errors.New("it is not a public address: set allow_private for a server in your own network")

// special are ranges of addresses that are not public, in addition to those that netip has methods for.
//
//nolint:gochecknoglobals // A table.
var special = []netip.Prefix{
	netip.MustParsePrefix("0.0.0.0/8"),       // this network
	netip.MustParsePrefix("100.64.0.0/10"),   // shared address space of carriers and clouds
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

// unicast is the range of public IPv6 addresses. It does not include NAT64, which carries IPv4.
//
//nolint:gochecknoglobals // A constant.
var unicast = netip.MustParsePrefix("2000::/3")

// public reports whether an address is on the public internet.
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

// refusePrivate is the Control function of a dialer. It checks the address after the name was looked up, immediately before the
// connection, so that a name that resolves to another address on a second lookup cannot get past it.
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
