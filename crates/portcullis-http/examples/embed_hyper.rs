//! A host without axum: hyper serves, tower layers protect its `/write`.
//!
//! ```text
//! cargo run -p portcullis-http --example embed_hyper
//! ```

#![expect(clippy::print_stdout, reason = "an example shows what to type")]

use std::convert::Infallible;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use portcullis::store::MemoryStore;
use portcullis::{
    Action, Engine, Name, NewAuthorization, Permission, Principal, Resource, Username,
};
use portcullis_http::{ClientAddressLayer, PeerAddress, V1CredentialLayer};
use tower::{ServiceBuilder, ServiceExt};

/// The host's own handler: the request is authenticated already, so it only checks the permission.
async fn write(bucket: Resource, request: Request<Incoming>) -> Response<Full<Bytes>> {
    let respond = |status: StatusCode, text: String| {
        let mut response = Response::new(Full::from(text));
        *response.status_mut() = status;
        response
    };
    let Some(client) = request.extensions().get::<Principal>().cloned() else {
        return respond(StatusCode::UNAUTHORIZED, "unauthorized access\n".to_owned());
    };
    let decision = client.check(Action::Write, &bucket);
    if !decision.is_allowed() {
        return respond(StatusCode::FORBIDDEN, "insufficient permissions for write\n".to_owned());
    }
    // A server bounds what it reads.
    match request.into_body().collect().await {
        Ok(points) => {
            let lines = points.to_bytes().split(|byte| *byte == b'\n').count();
            respond(StatusCode::OK, format!("{lines} lines written, {decision}\n"))
        }
        Err(_) => respond(StatusCode::BAD_REQUEST, "the body broke off\n".to_owned()),
    }
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

    // The first layer is the outermost: it finds the address, which the second one passes to the
    // engine. No proxy is trusted here.
    let app = ServiceBuilder::new()
        .layer(ClientAddressLayer::new([]))
        .layer(V1CredentialLayer::new(engine))
        .service_fn(
            move |request| async move { Ok::<_, Infallible>(write(bucket, request).await) },
        );

    let listener = tokio::net::TcpListener::bind("127.0.0.1:8088").await?;
    println!("curl -u telegraf:telegraf-password http://127.0.0.1:8088/write -d 'cpu v=1'");
    println!("curl -u grafana:grafana-password http://127.0.0.1:8088/write -d 'cpu v=1'");
    loop {
        let (stream, peer) = listener.accept().await?;
        let app = app.clone().map_request(move |mut request: Request<Incoming>| {
            request.extensions_mut().insert(PeerAddress(peer.ip()));
            request
        });
        let service = TowerToHyperService::new(app);
        tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
    }
}
