//! Writes the `meta.db` of an InfluxDB 1.x.

/// A bcrypt hash of `s3cret-enough`, with the lowest cost.
pub(crate) const HASH: &str = "$2a$04$CTaAucHIa66nO/EktpmrAeXxaC3HxjfVygsYE5ymwCJEwmNIyGlyW";
pub(crate) const PASSWORD: &str = "s3cret-enough";

pub(crate) fn varint(mut number: u64, to: &mut Vec<u8>) {
    while number >= 0x80 {
        to.push(number as u8 | 0x80);
        number >>= 7;
    }
    to.push(number as u8);
}

/// A field with a number.
pub(crate) fn number(field: u32, number: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    varint(u64::from(field) << 3, &mut bytes);
    varint(number, &mut bytes);
    bytes
}

/// A field with bytes.
pub(crate) fn bytes(field: u32, content: impl AsRef<[u8]>) -> Vec<u8> {
    let mut bytes = Vec::new();
    varint(u64::from(field) << 3 | 2, &mut bytes);
    varint(content.as_ref().len() as u64, &mut bytes);
    bytes.extend_from_slice(content.as_ref());
    bytes
}

/// A retention policy with so many shard groups.
pub(crate) fn policy(name: &str, shard_groups: u64) -> Vec<u8> {
    let group =
        |id| [number(1, id), number(2, 7), number(3, 8), number(4, 0), bytes(5, number(1, 1))];
    let groups = (0..shard_groups).flat_map(|id| bytes(5, group(id).concat()));
    let fields = [bytes(1, name), number(2, 604_800), number(3, 86_400), number(4, 1)];
    fields.concat().into_iter().chain(groups).collect()
}

pub(crate) fn database(name: &str, default: &str, policies: &[Vec<u8>]) -> Vec<u8> {
    let policies = policies.iter().flat_map(|policy| bytes(3, policy));
    [bytes(1, name), bytes(2, default)].concat().into_iter().chain(policies).collect()
}

/// A database with the retention policy `autogen`.
pub(crate) fn plain_database(name: &str) -> Vec<u8> {
    database(name, "autogen", &[policy("autogen", 2)])
}

/// A user with [`HASH`]. Privileges are 0 nothing, 1 read, 2 write, 3 both.
pub(crate) fn user(name: &str, is_admin: bool, privileges: &[(&str, u64)]) -> Vec<u8> {
    user_with(name, HASH, is_admin, privileges)
}

pub(crate) fn user_with(
    name: &str,
    hash: &str,
    is_admin: bool,
    privileges: &[(&str, u64)],
) -> Vec<u8> {
    let privileges = privileges.iter().flat_map(|(database, privilege)| {
        bytes(4, [bytes(1, database), number(2, *privilege)].concat())
    });
    let fields = [bytes(1, name), bytes(2, hash), number(3, u64::from(is_admin))];
    fields.concat().into_iter().chain(privileges).collect()
}

/// A whole file, in the order in which InfluxDB writes it.
pub(crate) fn file(databases: &[Vec<u8>], users: &[Vec<u8>]) -> Vec<u8> {
    let begin = [number(1, 0), number(2, 35), number(3, 0x3a_cd11_2233_4455)].concat();
    let databases = databases.iter().flat_map(|database| bytes(5, database));
    let users = users.iter().flat_map(|user| bytes(6, user));
    let end = [number(7, 0), number(8, 14), number(9, 14)].concat();
    begin.into_iter().chain(databases).chain(users).chain(end).collect()
}
