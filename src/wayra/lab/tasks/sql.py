"""Queries asked for in words, run on a small database in memory that is drawn anew for each question."""

import random
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass

from wayra.lab.items import Item, Score
from wayra.lab.tasks.answers import block_in
from wayra.lab.tasks.api import Draft, Generator, Task

MAX_STEPS = 1_000_000
STEPS_BETWEEN_LOOKS = 10_000
MAX_ROWS = 2_000
MAX_TEXT_BYTES = 1_000_000
ALLOWED = (sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_FUNCTION, sqlite3.SQLITE_RECURSIVE)
DENIED_FUNCTIONS = ("load_extension", "randomblob", "zeroblob", "readfile", "writefile", "edit", "fts3_tokenizer")

SCHEMA = """
CREATE TABLE customers (id INTEGER PRIMARY KEY, name TEXT, city TEXT, joined TEXT);
CREATE TABLE products (id INTEGER PRIMARY KEY, name TEXT, category TEXT, price INTEGER);
CREATE TABLE orders (id INTEGER PRIMARY KEY, customer_id INTEGER REFERENCES customers(id), day TEXT, status TEXT);
CREATE TABLE order_lines (
  order_id INTEGER REFERENCES orders(id), product_id INTEGER REFERENCES products(id), quantity INTEGER
);
CREATE TABLE employees (
  id INTEGER PRIMARY KEY, name TEXT, manager_id INTEGER REFERENCES employees(id), salary INTEGER, office TEXT
);
""".strip()
CITIES = (
    "Cusco", "Oslo", "Turin", "Kyoto", "Accra", "Lyon", "Quito", "Porto", "Hanoi", "Dakar", "Perth", "Basel", "Leeds",
    "Osaka", "Cairo", "Lima", "Riga", "Bergen", "Tunis", "Sucre", "Pisa", "Gent", "Miami", "Busan",
)  # fmt: skip
CATEGORIES = ("tools", "books", "lamps", "toys", "bikes", "seeds", "shoes", "tents", "clocks", "paints", "cups", "maps")
STATUSES = ("paid", "open", "returned", "packed", "sent", "lost", "refunded", "on hold", "delivered", "disputed")
NAMES = (
    "Ada",
    "Ben",
    "Cleo",
    "Dov",
    "Eda",
    "Finn",
    "Gus",
    "Hana",
    "Ilse",
    "Joe",
    "Kim",
    "Luz",
    "Mo",
    "Nia",
    "Otto",
    "Pia",
)
THINGS = ("Andes", "Brook", "Cedar", "Delta", "Ember", "Fjord", "Grove", "Heath", "Islet", "Jade")


@dataclass(frozen=True, slots=True)
class Words:
    """What texts in one question's tables can be. offices: some of the cities. One status is always cancelled."""

    cities: tuple[str, ...]
    offices: tuple[str, ...]
    categories: tuple[str, ...]
    statuses: tuple[str, ...]


def words_of(seed: str) -> Words:
    """Drawn anew for each question, so that neither it nor its query is one that was seen before."""
    rng = random.Random(f"{seed}/words")
    cities = tuple(rng.sample(CITIES, 6))
    statuses = ["cancelled", *rng.sample(STATUSES, 3)]
    rng.shuffle(statuses)
    return Words(cities, cities[:4], tuple(rng.sample(CATEGORIES, 4)), tuple(statuses))


@dataclass(frozen=True, slots=True)
class Question:
    """words, query, near (a likely mistake) with parameters in braces; is_ordered: the order of rows counts."""

    name: str
    words: str
    query: str
    near: str
    is_ordered: bool = False


def database(seed: str, number: int) -> sqlite3.Connection:
    """The tables with rows drawn for a question's seed: with empty groups, NULLs and ties, so that near misses show.

    number: which of the question's databases; all have the same words.
    """
    rng, words = random.Random(f"{seed}/{number}"), words_of(seed)
    connection = sqlite3.connect(":memory:", isolation_level=None)
    connection.executescript(SCHEMA)
    insert = connection.executemany
    days = [f"2025-{month:02d}-{day:02d}" for month in range(1, 13) for day in (3, 11, 19, 27)]
    insert(
        "INSERT INTO customers VALUES (?, ?, ?, ?)",
        [(n, f"{rng.choice(NAMES)} {n}", rng.choice(words.cities), rng.choice(days)) for n in range(1, 19)],
    )
    insert(
        "INSERT INTO products VALUES (?, ?, ?, ?)",
        [(n, name, rng.choice(words.categories), rng.randint(1, 30) * 5) for n, name in enumerate(THINGS, start=1)],
    )
    insert(
        "INSERT INTO orders VALUES (?, ?, ?, ?)",
        [(n, rng.randint(1, 15), rng.choice(days), rng.choice(words.statuses)) for n in range(1, 61)],
    )
    lines = {(rng.randint(1, 57), rng.randint(1, 9)): rng.randint(1, 6) for _ in range(150)}
    insert("INSERT INTO order_lines VALUES (?, ?, ?)", [(*key, count) for key, count in lines.items()])
    insert(
        "INSERT INTO employees VALUES (?, ?, ?, ?, ?)",
        [
            (
                n,
                f"{rng.choice(NAMES)} {n}",
                rng.randint(max(1, n // 3), n - 1) if n > 2 else None,
                rng.randint(8, 24) * 250,
                rng.choice(words.offices),
            )
            for n in range(1, 25)
        ],
    )
    return connection  # fmt: skip


def run_query(connection: sqlite3.Connection, query: str) -> tuple[list[tuple[object, ...]], str]:
    """Its rows, or why there are none: only one reading statement of bounded work is run."""
    looks = 0

    def look() -> int:
        nonlocal looks
        looks += 1
        return int(looks > MAX_STEPS // STEPS_BETWEEN_LOOKS)

    def allow(action: int, first: str | None, second: str | None, *_: object) -> int:
        if action not in ALLOWED or (action == sqlite3.SQLITE_FUNCTION and str(second).lower() in DENIED_FUNCTIONS):
            return sqlite3.SQLITE_DENY
        return sqlite3.SQLITE_DENY if str(first).startswith("pragma_") else sqlite3.SQLITE_OK

    connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, MAX_TEXT_BYTES)
    connection.setlimit(sqlite3.SQLITE_LIMIT_SQL_LENGTH, 20_000)
    connection.set_progress_handler(look, STEPS_BETWEEN_LOOKS)
    connection.set_authorizer(allow)
    try:
        rows = connection.execute(query).fetchmany(MAX_ROWS + 1)
    except (sqlite3.Error, sqlite3.Warning, ValueError, OverflowError) as error:
        return [], f"the query fails: {error}"
    finally:
        connection.set_authorizer(None)
        connection.set_progress_handler(None, 0)
    return (rows, "") if len(rows) <= MAX_ROWS else ([], f"the query gives more than {MAX_ROWS:,} rows")


def mark_query(item: Item, answer: str) -> Score:
    """Equal rows as the reference query gives on three databases; their order only where it was asked for."""
    query = block_in(answer, "sql").rstrip("; \n")
    if not query:
        return Score(0.0, False, "there is no query")
    for number in range(3):
        connection = database(str(item.data["database"]), number)
        try:
            wanted, _ = run_query(connection, str(item.target))
            found, why = run_query(connection, query)
        finally:
            connection.close()
        if why:
            return Score(0.0, False, why, query)
        if not _same(found, wanted, bool(item.data["is_ordered"])):
            rows = f"{len(found)} rows, the first {found[0]!r:.100}" if found else "no rows"
            return Score(0.0, False, f"{rows}; expected {len(wanted)} rows, the first {wanted[:1]!r:.100}", query)
    return Score(1.0, True, "the same rows as the reference", query)


def _same(found: Sequence[tuple[object, ...]], wanted: Sequence[tuple[object, ...]], is_ordered: bool) -> bool:
    first, second = ([tuple(map(_plain, row)) for row in rows] for rows in (found, wanted))
    return first == second if is_ordered else sorted(first) == sorted(second)


def _plain(value: object) -> str:
    return f"{value:.4f}" if isinstance(value, int | float) else repr(value)


def _generator(question: Question) -> Generator:
    def generate(rng: random.Random) -> Draft | None:
        seed = str(rng.getrandbits(40))
        words = words_of(seed)
        given = {
            "city": rng.choice(words.cities), "status": rng.choice(words.statuses),
            "few": rng.randint(2, 4), "boss": rng.randint(1, 6), "price": rng.randint(4, 20) * 5,
            "month": f"2025-{rng.randint(1, 12):02d}",
            "salary": rng.randint(250, 400) * 10, "office": rng.choice(words.offices),
        }  # fmt: skip
        query, near = question.query.format(**given), question.near.format(**given)
        if not _tells_apart(seed, query, near):
            return None
        ask = (
            f"A SQLite database has these tables:\n\n```sql\n{SCHEMA}\n```\n"
            f"Days are texts like 2025-03-11; the status of an order is one of {', '.join(words.statuses)}; prices are "
            "whole dollars; an order's worth is the sum of price times quantity over its lines; a manager_id of NULL "
            "means that "
            f"there is none.\n\n{question.words.format(**given)}\n\n"
            "Answer with one SELECT statement in a ```sql block, with exactly the columns asked for, in that order."
        )
        wrong = (f"```sql\n{near}\n```", "```sql\nSELECT 1\n```", "```sql\nDROP TABLE orders\n```")
        data = {"database": seed, "is_ordered": question.is_ordered}
        return Draft(ask, f"```sql\n{query};\n```", wrong, query, data)

    generate.__name__ = question.name
    return generate


def _tells_apart(seed: str, query: str, near: str) -> bool:
    """Whether the databases of the seed show the difference, and the right answer is not empty."""
    differs, rows = False, 0
    for number in range(3):
        connection = database(seed, number)
        wanted, _ = run_query(connection, query)
        found, _ = run_query(connection, near)
        connection.close()
        differs |= not _same(found, wanted, False)
        rows += len(wanted)
    return differs and rows > 0


WORTH = "FROM orders o JOIN order_lines l ON l.order_id = o.id JOIN products p ON p.id = l.product_id"
QUESTIONS = (
    Question("without_orders",
             "Which customers have placed no {status} order in {month} or later (by its day)? Give their names.",
             "SELECT name FROM customers WHERE id NOT IN (SELECT customer_id FROM orders WHERE status = '{status}' "
             "AND day >= '{month}')",
             "SELECT DISTINCT c.name FROM customers c JOIN orders o ON o.customer_id = c.id WHERE o.status <> "
             "'{status}' "
             "OR o.day < '{month}'"),
    Question("count_in_city",
             "How many customers live in {city}, and how many of them have at least one {status} order? Give both "
             "numbers.",
             "SELECT COUNT(*), COALESCE(SUM(EXISTS (SELECT 1 FROM orders o WHERE o.customer_id = c.id AND status = "
             "'{status}')), 0) FROM customers c WHERE city = '{city}'",
             "SELECT COUNT(*), COUNT(o.id) FROM customers c LEFT JOIN orders o ON o.customer_id = c.id AND status = "
             "'{status}' WHERE city = '{city}'"),
    Question("worth_by_category",
             "For each category of products that was ordered in {status} orders in {month} or later (by their day), "
             "give "
             "the category and the worth of all its lines in these orders together, the largest first, equal ones by "
             "category.",
             f"SELECT p.category, SUM(p.price * l.quantity) {WORTH} WHERE o.status = '{{status}}' AND o.day >= "
             f"'{{month}}' "
             "GROUP BY p.category ORDER BY 2 DESC, 1",
             f"SELECT p.category, SUM(p.price * l.quantity) {WORTH} WHERE o.status = '{{status}}' GROUP BY p.category "
             "ORDER BY 2 DESC, 1", True),
    Question("busy_customers",
             "Which customers have placed at least {few} orders that are not {status}? Give name and number of "
             "these orders.",
             "SELECT c.name, COUNT(*) FROM customers c JOIN orders o ON o.customer_id = c.id WHERE o.status <> "
             "'{status}' "
             "GROUP BY c.id HAVING COUNT(*) >= {few}",
             "SELECT c.name, COUNT(*) FROM customers c JOIN orders o ON o.customer_id = c.id GROUP BY c.id "
             "HAVING COUNT(*) >= {few}"),
    Question("paid_more_than_manager",
             "Which employees of the office {office} earn more than their manager, wherever that one works? Give the "
             "employee's name and the manager's name.",
             "SELECT e.name, m.name FROM employees e JOIN employees m ON m.id = e.manager_id WHERE e.salary > m.salary "
             "AND e.office = '{office}'",
             "SELECT e.name, m.name FROM employees e JOIN employees m ON m.id = e.manager_id WHERE e.salary > m.salary "
             "AND m.office = '{office}'"),
    Question("best_of_each_office",
             "For each office: who earns the most among those who earn less than {salary}? Give office, name and "
             "salary, "
             "all of them where several earn the same.",
             "SELECT office, name, salary FROM employees e WHERE salary = (SELECT MAX(salary) FROM employees x WHERE "
             "x.office = e.office AND x.salary < {salary})",
             "SELECT office, name, salary FROM employees WHERE salary = (SELECT MAX(salary) FROM employees WHERE "
             "salary < "
             "{salary})"),
    Question("never_sold",
             "Which products that cost at least {price} dollars were not part of any order in {month} (by its day)? "
             "Give their "
             "names in alphabetical order.",
             "SELECT name FROM products p WHERE price >= {price} AND NOT EXISTS (SELECT 1 FROM order_lines l JOIN "
             "orders o ON "
             "o.id = l.order_id WHERE l.product_id = p.id AND o.day LIKE '{month}-%') ORDER BY name",
             "SELECT DISTINCT p.name FROM products p LEFT JOIN order_lines l ON l.product_id = p.id LEFT JOIN "
             "orders o ON "
             "o.id = l.order_id WHERE p.price > {price} AND (o.day IS NULL OR o.day NOT LIKE '{month}-%') ORDER BY "
             "p.name",
             True),
    Question("all_below",
             "Who works below employee number {boss}, directly or through others, and earns at least {salary}? Give "
             "their ids, ascending.",
             "WITH RECURSIVE below(id) AS (SELECT id FROM employees WHERE manager_id = {boss} UNION SELECT e.id FROM "
             "employees e JOIN below b ON e.manager_id = b.id) SELECT id FROM below JOIN employees USING (id) WHERE "
             "salary >= {salary} ORDER BY id",
             "SELECT id FROM employees WHERE manager_id = {boss} AND salary >= {salary} ORDER BY id", True),
    Question("largest_orders",
             "Which {few} orders that are not {status} are worth the most? Give order id and worth, the largest first, "
             "equal ones by ascending id.",
             f"SELECT o.id, SUM(p.price * l.quantity) {WORTH} WHERE o.status <> '{{status}}' GROUP BY o.id ORDER BY 2 "
             "DESC, 1 LIMIT {few}",
             f"SELECT o.id, SUM(p.price) {WORTH} WHERE o.status <> '{{status}}' GROUP BY o.id ORDER BY 2 DESC, 1 "
             "LIMIT {few}", True),
    Question("above_average",
             "How many employees of the office {office} earn more than the average of all employees? And how many "
             "of that office "
             "earn less than {salary}? Give the two numbers.",
             "SELECT COUNT(CASE WHEN salary > (SELECT AVG(salary) FROM employees) THEN 1 END), COUNT(CASE WHEN "
             "salary < {salary} "
             "THEN 1 END) FROM employees WHERE office = '{office}'",
             "SELECT COUNT(CASE WHEN salary > (SELECT AVG(salary) FROM employees WHERE office = '{office}') THEN 1 "
             "END), "
             "COUNT(CASE WHEN salary < {salary} THEN 1 END) FROM employees WHERE office = '{office}'"),
    Question("latest_order",
             "For each customer who lives in {city} and has ordered, give name and the day of the latest order, by "
             "name.",
             "SELECT c.name, MAX(o.day) FROM customers c JOIN orders o ON o.customer_id = c.id WHERE c.city = '{city}' "
             "GROUP BY c.id ORDER BY c.name",
             "SELECT c.name, MIN(o.day) FROM customers c JOIN orders o ON o.customer_id = c.id WHERE c.city = '{city}' "
             "GROUP BY c.id ORDER BY c.name", True),
)  # fmt: skip

TASK = Task(
    "sql", "SQL query from natural language", tuple(map(_generator, QUESTIONS)), mark=mark_query, items_per_generator=3
)
