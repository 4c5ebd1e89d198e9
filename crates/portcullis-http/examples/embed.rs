//! A host with axum: its own `/write` and `/query`, protected by v1 credentials, and the management API
//! beside them.
//!
//! ```text
//! cargo run -p portcullis-http --example embed
//! ```

#![expect(clippy::print_stdout, reason = "an example shows what to type")]

use axum::routing::{get, post};
use axum::{Extension, Router, http::StatusCode};
use portcullis::store::MemoryStore;
use portcullis::{Action, Engine, Name, NewAuthorization, Permission, Resource, Username};
use portcullis_http::{
    Authenticated, AuthorizedQuery, ManagementApi, QueryPolicy, V1CredentialLayer,
};

/// The host's own handler: the request is authenticated already, so it only checks the permission.
async fn write(
    Extension(bucket): Extension<Resource>,
    Authenticated(client): Authenticated,
    points: String,
) -> Result<String, (StatusCode, String)> {
    let decision = client.check(Action::Write, &bucket);
    if !decision.is_allowed() {
        return Err((StatusCode::FORBIDDEN, "insufficient permissions for write\n".to_owned()));
    }
    Ok(format!("{} lines written, {decision}\n", points.lines().count()))
}

/// The host's own handler: each statement is allowed already, and its databases are buckets.
async fn query(query: AuthorizedQuery) -> String {
    let mut response = String::new();
    for statement in query.statements() {
        for (action, bucket) in statement.buckets() {
            response += &format!("{}: {action}s bucket {bucket}\n", statement.kind());
        }
    }
    response
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let engine = Engine::builder(MemoryStore::new()?).build().await?;

    // Credentials and their permissions. A server with users and buckets of its own implements
    // `Directory` instead.
    let org = engine.create_org(Name::new("acme")?).await?;
    let user = engine.create_user(Name::new("ada")?).await?;
    let bucket = engine.create_bucket(org.id, Name::new("telemetry")?).await?;
    let bucket = Resource::bucket(org.id, bucket.id);
    for (name, permission) in
        [("telegraf", Permission::write(bucket)), ("grafana", Permission::read(bucket))]
    {
        let new = NewAuthorization::new(Username::new(name)?, org.id, [permission]);
        let authorization = engine.create_authorization(new.for_user(user.id)).await?;
        engine.set_password(authorization.id, format!("{name}-password")).await?;
    }

    let app = Router::new()
        .route("/write", post(write))
        .route("/query", get(query).post(query))
        .layer(Extension(bucket))
        .with_state(QueryPolicy::new(engine.clone()))
        .layer(V1CredentialLayer::new(engine.clone()))
        .merge(ManagementApi::new(engine).into_router());

    let listener = tokio::net::TcpListener::bind("127.0.0.1:8088").await?;
    println!("curl -u telegraf:telegraf-password http://127.0.0.1:8088/write -d 'cpu v=1'");
    println!("curl -u grafana:grafana-password http://127.0.0.1:8088/write -d 'cpu v=1'");
    println!(
        "curl -u grafana:grafana-password 'http://127.0.0.1:8088/query?db=telemetry&q=SHOW+SERIES'"
    );
    axum::serve(listener, app).await?;
    Ok(())
}
