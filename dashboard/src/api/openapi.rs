//! The description of the API (OpenAPI 3.1). A test asks every address that it names and compares
//! what comes with what it says.

use serde_json::{Map, Value, json};

use super::tables::BUG;
use crate::records::{Form, Kind};

/// What an address answers with.
enum Answer {
    /// An object with these fields at least.
    Object(&'static [(&'static str, &'static str)]),
    /// Rows with these columns at least, in each form of a table.
    Table(&'static [(&'static str, Kind)]),
    /// Plain text.
    Text,
}

struct Path {
    path: &'static str,
    summary: &'static str,
    query: &'static [(&'static str, &'static str)],
    answer: Answer,
}

use Answer::{Object, Table, Text as Plain};
use Kind::{Flag, Integer, List, Number, Text};

const EXPERIMENT_OR_BUG: &[(&str, &str)] = &[
    ("experiment", "Only of this experiment, also one of an earlier plan."),
    ("bug", "Only of the active experiments of this bug."),
];
const FILTER: &[(&str, &str)] = &[
    ("q", "Words that the entry, its headings, its name or a changed file contain, in any case."),
    ("release", "The release whose notes name the bug."),
    ("section", "A heading above the entry."),
    ("scope", "A kind of files that the fix changed."),
    ("resolution", "How the fix was found."),
    ("label", "unlabelled, agreed, disputed, or a criterion that holds."),
    ("build", "not built, partial, built or failed."),
    ("reach", "Whether the study's workload can see the change, or none."),
    ("verdict", "A verdict, or none."),
    ("lost", "The step of the funnel that lost the bug, or none."),
    ("sort", "A column; `-` before it turns the order around."),
    ("page", "The page, from 1."),
    ("per", "Bugs a page, up to 1000."),
];

const PATHS: &[Path] = &[
    Path {
        path: "/api/v1/study",
        summary: "The study: its configuration, toolchains and the digests of its data.",
        query: &[],
        answer: Object(&[
            ("name", "string"),
            ("program", "string"),
            ("config", "object"),
            ("toolchains", "array"),
            ("arrays", "array"),
            ("problems", "array"),
        ]),
    },
    Path {
        path: "/api/v1/overview",
        summary: "The funnel, what is under way, and how much needs attention.",
        query: &[],
        answer: Object(&[
            ("funnel", "array"),
            ("running", "array"),
            ("building", "array"),
            ("attention", "integer"),
            ("verdicts", "integer"),
        ]),
    },
    Path {
        path: "/api/v1/funnel",
        summary: "How many bugs came through each step, and how many each step lost.",
        query: &[],
        answer: Table(&[("step", Text), ("bugs", Integer), ("lost", Integer)]),
    },
    Path {
        path: "/api/v1/attention",
        summary: "What a person should look at.",
        query: &[],
        answer: Table(&[
            ("kind", Text),
            ("bug", Text),
            ("what", Text),
            ("why", Text),
            ("page", Text),
        ]),
    },
    Path {
        path: "/api/v1/bugs",
        summary: "Bugs, filtered and sorted. JSON comes in pages, CSV and Parquet whole.",
        query: FILTER,
        answer: Table(&BUG),
    },
    Path {
        path: "/api/v1/bugs/{bug}",
        summary: "One bug with its change, labels, builds, experiments, verdicts and tests.",
        query: &[],
        answer: Object(&[
            ("bug", "string"),
            ("text", "string"),
            ("changed", "array"),
            ("labels", "array"),
            ("builds", "array"),
            ("experiments", "array"),
            ("verdicts", "array"),
            ("tests", "array"),
        ]),
    },
    Path {
        path: "/api/v1/labels",
        summary: "What each rater says of each bug; one more column for each criterion.",
        query: &[],
        answer: Table(&[("bug", Text), ("rater", Text), ("note", Text), ("at", Text)]),
    },
    Path {
        path: "/api/v1/builds",
        summary: "Each side of each bug that was built or tried.",
        query: &[],
        answer: Table(&[
            ("bug", Text),
            ("evaluation", Text),
            ("artifact", Text),
            ("status", Text),
            ("class", Text),
            ("line", Text),
            ("content", Text),
            ("bytes", Integer),
            ("repository", Text),
            ("commit", Text),
            ("toolchain", Text),
            ("toolchain_digest", Text),
            ("image", Text),
            ("strategy", Text),
            ("fault", Text),
            ("seconds", Number),
        ]),
    },
    Path {
        path: "/api/v1/builds/{artifact}",
        summary: "One build with its record and provenance.",
        query: &[],
        answer: Object(&[("artifact", "string"), ("log", "boolean"), ("problems", "array")]),
    },
    Path {
        path: "/api/v1/builds/{artifact}/log",
        summary: "The log of a build, as far as it is written.",
        query: &[],
        answer: Plain,
    },
    Path {
        path: "/api/v1/experiments",
        summary: "Experiments, those of earlier plans too.",
        query: &[("bug", "Only of this bug.")],
        answer: Table(&[
            ("experiment", Text),
            ("bug", Text),
            ("evaluation", Text),
            ("active", Flag),
            ("artifact", Text),
            ("toolchain", Text),
            ("model", Text),
            ("challenge", Text),
            ("epochs", Integer),
            ("seed_policy", Text),
            ("device", Text),
            ("runs_asked", Integer),
            ("runs_finished", Integer),
            ("runs_failed", Integer),
            ("runs_running", Integer),
            ("invalid", Text),
            ("planned_at", Text),
        ]),
    },
    Path {
        path: "/api/v1/experiments/{experiment}",
        summary: "One experiment with its attributes and runs.",
        query: &[],
        answer: Object(&[
            ("experiment", "string"),
            ("attributes", "object"),
            ("active", "boolean"),
            ("runs_asked", "integer"),
            ("runs", "array"),
        ]),
    },
    Path {
        path: "/api/v1/runs",
        summary: "Runs of the active experiments; one more column for each metric of the test split.",
        query: EXPERIMENT_OR_BUG,
        answer: Table(&[
            ("bug", Text),
            ("evaluation", Text),
            ("experiment", Text),
            ("run", Integer),
            ("seed", Integer),
            ("status", Text),
            ("attempt", Integer),
            ("epoch", Integer),
            ("epochs", Integer),
            ("started_at", Text),
            ("finished_at", Text),
            ("seconds", Number),
            ("reason", Text),
        ]),
    },
    Path {
        path: "/api/v1/runs/{experiment}/{run}",
        summary: "One run with its epochs, metrics, manifest and results.",
        query: &[],
        answer: Object(&[
            ("experiment", "string"),
            ("run", "integer"),
            ("status", "string"),
            ("metrics", "object"),
            ("predictions", "object"),
            ("epochs", "array"),
        ]),
    },
    Path {
        path: "/api/v1/runs/{experiment}/{run}/log",
        summary: "What the process of a run said.",
        query: &[],
        answer: Plain,
    },
    Path {
        path: "/api/v1/epochs",
        summary: "Training loss and digest of the parameters after each epoch of each run.",
        query: EXPERIMENT_OR_BUG,
        answer: Table(&[
            ("bug", Text),
            ("evaluation", Text),
            ("experiment", Text),
            ("run", Integer),
            ("epoch", Integer),
            ("loss", Number),
            ("digest", Text),
        ]),
    },
    Path {
        path: "/api/v1/verdicts",
        summary: "What the analysis concluded for each comparison.",
        query: &[],
        answer: Table(&[
            ("bug", Text),
            ("kind", Text),
            ("verdict", Text),
            ("reason", Text),
            ("pairs", Integer),
            ("equal_pairs", Integer),
        ]),
    },
    Path {
        path: "/api/v1/tests",
        summary: "The tests of each comparison and metric.",
        query: &[],
        answer: Table(&[
            ("bug", Text),
            ("kind", Text),
            ("metric", Text),
            ("outcome", Flag),
            ("n_buggy", Integer),
            ("n_corrected", Integer),
            ("statistic", Number),
            ("p_value", Number),
            ("p_holm", Number),
            ("p_bh", Number),
            ("shift", Number),
            ("shift_low", Number),
            ("shift_high", Number),
            ("a12", Number),
            ("a12_low", Number),
            ("a12_high", Number),
            ("margin", Number),
            ("p_equivalence", Number),
            ("detectable_shift", Number),
            ("notes", List),
        ]),
    },
    Path {
        path: "/api/v1/analysis",
        summary: "The whole analysis as `stats` wrote it.",
        query: &[],
        answer: Object(&[("verdicts", "array"), ("tests", "array")]),
    },
    Path {
        path: "/api/v1/compare",
        summary: "Two experiments, or two runs, by nothing but their identifiers.",
        query: &[("left", "An experiment, or a run as EXPERIMENT/NUMBER."), ("right", "Another.")],
        answer: Object(&[("left", "string"), ("right", "string"), ("factors", "array")]),
    },
    Path {
        path: "/metrics",
        summary: "The study in numbers, in Prometheus' text format.",
        query: &[],
        answer: Plain,
    },
];

/// The document.
pub(super) fn document() -> Value {
    let paths: Map<String, Value> = PATHS
        .iter()
        .map(|path| (path.path.to_owned(), json!({ "get": operation(path) })))
        .collect();
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "ReproduceML dashboard",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "A study, for reading. Numbers that JSON cannot hold are the texts \
                `inf`, `-inf` and `NaN`. Problems have the form of RFC 9457.",
            "license": { "name": "MIT OR Apache-2.0", "identifier": "MIT OR Apache-2.0" },
        },
        "servers": [{ "url": "/" }],
        "security": [{}, { "token": [] }],
        "paths": paths,
        "components": {
            "securitySchemes": { "token": { "type": "http", "scheme": "bearer" } },
            "schemas": { "problem": {
                "type": "object",
                "required": ["title", "status", "detail"],
                "properties": {
                    "type": { "type": "string" }, "title": { "type": "string" },
                    "status": { "type": "integer" }, "detail": { "type": "string" },
                },
            } },
        },
    })
}

fn operation(path: &Path) -> Value {
    let mut parameters: Vec<Value> = path
        .path
        .split('/')
        .filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'))
        .map(|name| {
            let schema = json!({ "type": "string" });
            json!({ "name": name, "in": "path", "required": true, "schema": schema })
        })
        .collect();
    let table = matches!(path.answer, Table(_));
    let needed = path.path.ends_with("/compare");
    for (name, description) in path.query {
        let kind = if matches!(*name, "page" | "per") { "integer" } else { "string" };
        parameters.push(json!({
            "name": name, "in": "query", "required": needed, "description": description,
            "schema": { "type": kind },
        }));
    }
    if table {
        parameters.push(json!({
            "name": "format", "in": "query", "required": false,
            "description": "The form, where `Accept` cannot be set.",
            "schema": { "type": "string", "enum": Form::ALL.map(Form::name) },
        }));
    }
    let problem = |description: &str| {
        let schema = json!({ "$ref": "#/components/schemas/problem" });
        let content = json!({ "application/problem+json": { "schema": schema } });
        json!({ "description": description, "content": content })
    };
    let mut responses = Map::new();
    responses
        .insert("200".into(), json!({ "description": path.summary, "content": content(path) }));
    if table || needed {
        responses.insert("400".into(), problem("A parameter is not what it should be."));
    }
    if table {
        responses.insert("406".into(), problem("None of the forms is wanted."));
    }
    if path.path.contains('{') || needed || path.path.ends_with("/analysis") {
        responses.insert("404".into(), problem("There is no such thing."));
    }
    responses.insert("401".into(), problem("The token is missing or wrong."));
    json!({
        "operationId": path.path.trim_start_matches("/api/v1/").replace(['/', '{', '}'], "_"),
        "summary": path.summary, "parameters": parameters, "responses": responses,
    })
}

fn content(path: &Path) -> Value {
    match path.answer {
        Plain => json!({ "text/plain": { "schema": { "type": "string" } } }),
        Object(fields) => {
            let properties: Map<String, Value> = fields
                .iter()
                .map(|(name, kind)| ((*name).to_owned(), json!({ "type": kind })))
                .collect();
            let required: Vec<&str> = fields.iter().map(|field| field.0).collect();
            let schema =
                json!({ "type": "object", "required": required, "properties": properties });
            json!({ "application/json": { "schema": schema } })
        }
        Table(columns) => {
            let properties: Map<String, Value> =
                columns.iter().map(|(name, kind)| ((*name).to_owned(), schema(*kind))).collect();
            let required: Vec<&str> = columns.iter().map(|column| column.0).collect();
            let row = json!({ "type": "object", "required": required, "properties": properties });
            let table = json!({
                "type": "object", "required": ["items"],
                "properties": { "items": { "type": "array", "items": row } },
            });
            let mut content = Map::new();
            for form in Form::ALL {
                let schema = match form {
                    Form::Json => table.clone(),
                    Form::Csv => json!({ "type": "string" }),
                    Form::Parquet => json!({ "type": "string", "format": "binary" }),
                };
                content.insert(form.media().to_owned(), json!({ "schema": schema }));
            }
            Value::Object(content)
        }
    }
}

fn schema(kind: Kind) -> Value {
    match kind {
        Text => json!({ "type": ["string", "null"] }),
        Integer => json!({ "type": ["integer", "null"] }),
        Number => json!({ "type": ["number", "string", "null"] }),
        Flag => json!({ "type": ["boolean", "null"] }),
        List => json!({ "type": ["array", "null"], "items": { "type": "string" } }),
    }
}
