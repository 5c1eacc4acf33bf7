//! Users from a file: for small teams, the demo and break-glass.
