"""Makes InfluxQL statements: valid ones, nearly valid ones, and odd ones."""

NAMES = ["cpu", "mem", "telemetry", "events", "v", "host", "time", "a.b", "ev\\\"ents", "select",
         "温度", "x y", "autogen", "weekly", "_internal", "it's", "from", "m1", "A", ""]
DATABASES = ["telemetry", "telemetry", "telemetry", "events", "events", "other", ""]
POLICIES = ["autogen", "weekly", "", "", "p"]
REGEXES = ["/.*/", "/c.*/", "/^cpu$/", "/a\\/b/", "/(?i)cpu/", "/[a-z]+/", "/\\d{1,3}/", "/(a|b)*/",
           "/**/", "/(/", "/[/", "/a{1001}/", "/\\pL/", "/x\\\\/", "/(?P<n>a)/", "/\\q/", "//"]
KEYWORDS = ["SELECT", "FROM", "INTO", "WHERE", "GROUP", "BY", "ON", "SHOW", "DROP", "CREATE", "ALL",
            "AS", "END", "BEGIN", "WITH", "KEY", "LIMIT", "DATABASE", "SERIES", "TO", "USER"]


class Grammar:
    def __init__(self, random):
        self.random = random

    def pick(self, *choices):
        return self.random.choice(choices)

    def maybe(self, text, chance=0.3):
        if self.random.random() >= chance:
            return ""
        return text() if callable(text) else text

    # Parts.

    def quoted(self, name):
        return '"' + name.replace('"', '\\"') + '"'

    def identifier(self, name=None):
        name = self.random.choice(NAMES) if name is None else name
        plain = name not in ("select", "from") and name.isascii() and name.replace("_", "a").isalnum() and not name[:1].isdigit()
        if plain and self.random.random() < 0.6:
            return name.upper() if self.random.random() < 0.02 else name
        if self.random.random() < 0.03:
            return self.pick("abc", "SELECT", "x") + self.quoted(name)
        return self.quoted(name.replace('\\"', '"'))

    def database(self):
        return self.identifier(self.random.choice(DATABASES))

    def policy(self):
        return self.identifier(self.random.choice(POLICIES))

    def regex(self):
        return self.random.choice(REGEXES[:8] if self.random.random() < 0.85 else REGEXES)

    def string(self):
        return "'" + self.pick("a", "server-1", "2020-01-01", "; DROP DATABASE events", "it\\'s", "ü",
                               "bad\\q", "--", "/*", "") + "'"

    def duration(self):
        return self.pick("1h", "5m", "10s", "7d", "1w", "100ms", "3u", "3µ", "2ns", "1h30m", "INF", "1y", "0s",
                         "20000w")

    def number(self):
        return self.pick("1", "0", "10", "1.5", ".5", "1.", "9223372036854775808", "99999999999999999999",
                         "007")

    def measurement(self):
        kind = self.random.random()
        if kind < 0.4:
            return self.identifier()
        if kind < 0.65:
            return self.database() + ".." + self.identifier()
        if kind < 0.8:
            return self.database() + "." + self.policy() + "." + self.identifier()
        if kind < 0.85:
            return self.policy() + "." + self.identifier()
        if kind < 0.92:
            return self.regex()
        return self.pick(
            lambda: self.database() + ".." + self.regex(),
            lambda: self.database() + "." + self.policy() + "." + self.regex(),
            lambda: self.policy() + "." + self.regex(),
            lambda: self.database() + ". " + self.identifier(),
            lambda: self.database() + " ." + self.identifier(),
            lambda: self.database() + "..." + self.identifier(),
            lambda: self.database() + "." + self.policy() + "." + self.identifier() + ".x",
            lambda: "." + self.identifier(),
            lambda: self.string())()

    def source(self, depth):
        if depth < 3 and self.random.random() < 0.18:
            return "(" + self.select(depth + 1) + ")"
        return self.measurement()

    def sources(self, depth=0):
        return ", ".join(self.source(depth) for _ in range(self.pick(1, 1, 1, 2, 3)))

    def plain_sources(self):
        return ", ".join(self.measurement() for _ in range(self.pick(1, 1, 1, 2)))

    def expression(self, depth=0):
        if depth > 3 or self.random.random() < 0.5:
            return self.pick(
                lambda: self.identifier(), lambda: self.identifier(), lambda: self.number(),
                lambda: self.string(), lambda: self.duration(), lambda: "now()", lambda: "*",
                lambda: "true", lambda: "-" + self.number(), lambda: "v::" + self.pick("float", "tag", "x"),
                lambda: "*::field", lambda: "- (v)", lambda: "$p", lambda: "distinct v")()
        return self.pick(
            lambda: "(" + self.expression(depth + 1) + ")",
            lambda: self.pick("mean", "count", "max", "derivative", "time", "TOP", "distinct") + "(" +
            ", ".join(self.expression(depth + 1) for _ in range(self.pick(0, 1, 1, 2))) + ")",
            lambda: self.expression(depth + 1) + self.pick(" + ", "-", "*", " / ", " % ", "&", "|", "^") +
            self.expression(depth + 1),
            lambda: "mean(" + self.regex() + ")")()

    def field(self):
        text = self.pick(lambda: self.identifier(), lambda: "*", lambda: "mean(v)", lambda: self.expression(),
                         lambda: self.regex(), lambda: "v = 1")() \
            if self.random.random() < 0.2 else self.pick("v", "*", "mean(v)")
        return text + self.maybe(lambda: " AS " + self.identifier(), 0.15)

    def condition(self):
        one = lambda: self.pick(
            lambda: self.identifier() + self.pick(" = ", "!=", " <> ", ">", "<=") + self.expression(),
            lambda: "host " + self.pick("=~ ", "!~", "=~") + self.regex(),
            lambda: "time > now() - " + self.duration(),
            lambda: "(" + self.identifier() + " = " + self.string() + ")")()
        return " WHERE " + self.pick(" AND ", " OR ", " and ").join(one() for _ in range(self.pick(1, 1, 2)))

    def dimensions(self):
        one = lambda: self.pick("host", "*", "time(1h)", "time(5m, 1m)", "/re.*/", "time()", "time(x)", "TIME(1h)")
        return " GROUP BY " + ", ".join(one() for _ in range(self.pick(1, 1, 2)))

    def target(self):
        return " INTO " + self.pick(
            lambda: self.measurement(), lambda: self.measurement(), lambda: self.database() + ".." +
            self.identifier(), lambda: self.database() + "." + self.policy() + ".:MEASUREMENT",
            lambda: self.policy() + ".:MEASUREMENT", lambda: ":MEASUREMENT",
            lambda: self.database() + "..:MEASUREMENT")()

    def tail(self):
        return (self.maybe(lambda: " fill(" + self.pick("null", "none", "0", "previous", "linear", "x", "1.5", "-1")
                           + ")", 0.1)
                + self.maybe(lambda: " ORDER BY " + self.pick("time", "time DESC", "ASC", "host", "time, x"), 0.15)
                + self.maybe(lambda: " LIMIT " + self.number(), 0.15) + self.maybe(" OFFSET 2", 0.1)
                + self.maybe(" SLIMIT 1", 0.05) + self.maybe(" SOFFSET 1", 0.05)
                + self.maybe(lambda: " tz(" + self.pick("'UTC'", "'Europe/Berlin'", "UTC") + ")", 0.05))

    # Statements.

    def select(self, depth=0):
        return ("SELECT " + ", ".join(self.field() for _ in range(self.pick(1, 1, 2)))
                + self.maybe(self.target, 0.3 if depth == 0 else 0.05)
                + " FROM " + self.sources(depth) + self.maybe(self.condition) + self.maybe(self.dimensions)
                + self.tail())

    def on(self):
        return self.maybe(lambda: " ON " + self.database(), 0.5)

    def from_(self):
        return self.maybe(lambda: " FROM " + self.plain_sources(), 0.5)

    def limits(self):
        return self.maybe(" LIMIT 5", 0.2) + self.maybe(" OFFSET 1", 0.1)

    def with_key(self):
        return " WITH KEY " + self.pick(
            lambda: "= host", lambda: "IN (host, region)", lambda: "=~ " + self.regex(), lambda: "!= x",
            lambda: "IN ()")()

    def show(self):
        exact = self.maybe(" EXACT", 0.5)
        return "SHOW " + self.pick(
            lambda: "DATABASES", lambda: "QUERIES", lambda: "CONTINUOUS QUERIES", lambda: "SHARDS",
            lambda: "SHARD GROUPS", lambda: "SUBSCRIPTIONS", lambda: "STATS" + self.maybe(" FOR 'indexes'"),
            lambda: "DIAGNOSTICS", lambda: "USERS", lambda: "GRANTS FOR " + self.identifier(),
            lambda: "RETENTION POLICIES" + self.on(),
            lambda: "MEASUREMENTS" + self.on() + self.maybe(
                lambda: " WITH MEASUREMENT " + self.pick("= ", "=~ ") + self.measurement())
            + self.maybe(self.condition) + self.limits(),
            lambda: "MEASUREMENT" + exact + " CARDINALITY" + self.on() + self.from_()
            + self.maybe(self.condition) + self.limits(),
            lambda: "SERIES" + self.on() + self.from_() + self.maybe(self.condition) + self.limits(),
            lambda: "SERIES" + exact + " CARDINALITY" + self.on() + self.from_() + self.limits(),
            lambda: "TAG KEYS" + self.on() + self.from_() + self.maybe(self.condition) + self.limits(),
            lambda: "TAG KEY" + exact + " CARDINALITY" + self.on() + self.from_(),
            lambda: "TAG VALUES" + self.on() + self.from_() + self.with_key() + self.maybe(self.condition)
            + self.limits(),
            lambda: "TAG VALUES" + exact + " CARDINALITY" + self.on() + self.from_() + self.with_key(),
            lambda: "FIELD KEYS" + self.on() + self.from_() + self.limits(),
            lambda: "FIELD KEY" + exact + " CARDINALITY" + self.on() + self.from_())()

    def continuous(self):
        return ("CREATE CONTINUOUS QUERY " + self.identifier() + " ON " + self.database()
                + self.maybe(lambda: " RESAMPLE" + self.maybe(" EVERY 1h", 0.5) + self.maybe(" FOR 2h", 0.5), 0.2)
                + " BEGIN SELECT " + self.pick("mean(v)", "v", "max(v)") + self.pick(self.target(), self.target(), "")
                + " FROM " + self.sources(2) + self.pick(" GROUP BY time(1h)", " GROUP BY time(1h), host", "")
                + " END")

    def manage(self):
        return self.pick(
            lambda: "CREATE DATABASE " + self.database() + self.maybe(
                lambda: " WITH" + self.maybe(" DURATION 1d", 0.7) + self.maybe(" REPLICATION 1")
                + self.maybe(" SHARD DURATION 1h") + self.maybe(" NAME x")),
            lambda: "DROP DATABASE " + self.database(), lambda: "DROP MEASUREMENT " + self.identifier(),
            lambda: "CREATE RETENTION POLICY p ON " + self.database() + " DURATION " + self.duration()
            + " REPLICATION " + self.number() + self.maybe(" SHARD DURATION 1h") + self.maybe(" DEFAULT"),
            lambda: "ALTER RETENTION POLICY " + self.pick("p", "default", "DEFAULT") + " ON " + self.database()
            + self.maybe(" DURATION 1d", 0.6) + self.maybe(" REPLICATION 1") + self.maybe(" DEFAULT"),
            lambda: "DROP RETENTION POLICY nothing ON " + self.database(),
            lambda: "DROP CONTINUOUS QUERY nothing ON " + self.database(),
            lambda: "CREATE SUBSCRIPTION s ON " + self.database() + "." + self.policy()
            + " DESTINATIONS ANY 'udp://127.0.0.1:9'",
            lambda: "DROP SUBSCRIPTION s ON " + self.database() + "." + self.policy(),
            lambda: "DROP SHARD 999999", lambda: "KILL QUERY 999999" + self.maybe(' ON "h:1"'),
            lambda: "CREATE USER x WITH PASSWORD 'secret'" + self.maybe(" WITH ALL PRIVILEGES"),
            lambda: "DROP USER x", lambda: "SET PASSWORD FOR x = 'secret'",
            lambda: "GRANT " + self.pick("READ", "WRITE", "ALL", "ALL PRIVILEGES") + self.maybe(
                lambda: " ON " + self.database(), 0.8) + " TO x",
            lambda: "REVOKE " + self.pick("READ", "ALL") + self.maybe(lambda: " ON " + self.database(), 0.8)
            + " FROM x",
            lambda: "DELETE" + self.maybe(lambda: " FROM " + self.plain_sources(), 0.7)
            + self.maybe(self.condition, 0.6),
            lambda: "DROP SERIES" + self.maybe(lambda: " FROM " + self.plain_sources(), 0.7)
            + self.maybe(self.condition, 0.6))()

    def statement(self):
        kind = self.random.random()
        if kind < 0.45:
            return self.select()
        if kind < 0.52:
            return "EXPLAIN " + self.maybe("ANALYZE ", 0.5) + self.select()
        if kind < 0.75:
            return self.show()
        if kind < 0.83:
            return self.continuous()
        return self.manage()

    # Oddities.

    def spaced(self, text):
        """Other white space, comments, other case of the letters, between the same words."""
        words = text.split(" ")
        spaces = [" "] * 60 + ["  ", "\n", "\t", "\r\n", " -- c\n", " /* c */ ", "/**/", "\u00a0", " \r "]
        out = words[0]
        for word in words[1:]:
            out += self.random.choice(spaces) + word
        if self.random.random() < 0.3:
            out = "".join(c.swapcase() if self.random.random() < 0.3 else c for c in out)
        return out

    def damaged(self, text):
        """Something that is left out, stands twice, or does not belong there."""
        at = self.random.randrange(len(text) + 1)
        return self.pick(
            lambda: text[:at] + text[at + 1:],
            lambda: text[:at] + self.pick("\"", "'", "/", "\\", ".", "..", ";", "(", ")", ",", ":", "$", "\x01", "é",
                                          " ", "--", "/*", "*/", "=~", "\n", "\r", "٣") + text[at:],
            lambda: text[:at] + " " + self.random.choice(KEYWORDS) + " " + text[at:],
            lambda: text[:at],
            lambda: text + " " + self.statement())()

    def query(self):
        text = "; ".join(self.statement() for _ in range(self.pick(1, 1, 1, 1, 1, 2, 3)))
        if self.random.random() < 0.3:
            text = self.spaced(text)
        if self.random.random() < 0.15:
            text = self.damaged(text)
        if self.random.random() < 0.01:
            depth = self.pick(5, 50, 90)
            text = "SELECT " + "(" * depth + "v" + ")" * depth + " FROM " + self.measurement()
        return text or ";"
