//! What every plugin's process may reach.

/// To read, and to run programs from, with all that is beneath.
///
/// Not here, and why: `/etc` as a whole, `/opt`, `/home`, `/root`, `/srv` and
/// `/var`, where other software keeps its keys and data; `/tmp`, which is
/// everyone's (a plugin has a directory of its own); `/run`, where the sockets
/// and secrets of other services are; `/dev`, through which a disk could be
/// read past every rule; `/boot`.
///
/// A rule holds for the file that is there when it is made. A single file of
/// `/etc` that is replaced later, as a new `/etc/resolv.conf`, is closed until
/// the process is started again.
pub const READABLE: &[&str] = &[
    // Programs and libraries of the system, and nothing that is secret.
    "/usr",
    "/bin",
    "/sbin",
    "/lib",
    "/lib32",
    "/lib64",
    "/libx32",
    "/nix/store",
    "/gnu/store",
    // The dynamic linker.
    "/etc/ld.so.cache",
    "/etc/ld.so.conf",
    "/etc/ld.so.conf.d",
    "/etc/ld.so.preload",
    "/etc/alternatives",
    // Names: of hosts, with what /etc/resolv.conf may lead to; of users; of
    // services.
    "/etc/hosts",
    "/etc/host.conf",
    "/etc/hostname",
    "/etc/gai.conf",
    "/etc/nsswitch.conf",
    "/etc/resolv.conf",
    "/run/systemd/resolve",
    "/run/NetworkManager/resolv.conf",
    "/run/resolvconf",
    "/etc/passwd",
    "/etc/group",
    "/etc/protocols",
    "/etc/services",
    // The time and the place.
    "/etc/localtime",
    "/etc/timezone",
    "/etc/locale.conf",
    "/etc/os-release",
    "/etc/machine-id",
    "/etc/mime.types",
    // Certificates of others, without the private keys beside them.
    "/etc/ssl/certs",
    "/etc/ssl/cert.pem",
    "/etc/ssl/openssl.cnf",
    "/etc/pki/tls/certs",
    "/etc/pki/tls/cert.pem",
    "/etc/pki/tls/openssl.cnf",
    "/etc/pki/ca-trust/extracted",
    "/etc/ca-certificates",
    "/etc/crypto-policies",
    // Facts of the machine. What of another process is its own (memory,
    // environment, open files), Landlock keeps by itself.
    "/proc",
    "/sys",
];

/// To read and to write: devices that lead nowhere.
pub const DEVICES: &[&str] = &[
    "/dev/null",
    "/dev/zero",
    "/dev/full",
    "/dev/random",
    "/dev/urandom",
];
