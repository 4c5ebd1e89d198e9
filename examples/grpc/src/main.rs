//! A gRPC server with tonic: a tower layer authenticates the request, the method checks the
//! permission.
//!
//! ```text
//! cargo run -p portcullis-example-grpc
//! ```
//!
//! The service is gRPC's own `Health`, as its code is to be had without `protoc`. An interceptor of
//! tonic cannot take the layer's place: it is not asynchronous, and a login is. The response
//! to a refused request is HTTP's 401, which gRPC clients report as `UNAUTHENTICATED`.

#![expect(clippy::print_stdout, reason = "an example shows what to type")]

use axum::Router;
use portcullis::store::MemoryStore;
use portcullis::{
    Action, Engine, Name, NewAuthorization, Permission, Principal, Resource, Username,
};
use portcullis_http::{ClientAddressLayer, V1CredentialLayer};
use tonic::metadata::MetadataValue;
use tonic::{Request, Response, Status};
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_server::{Health, HealthServer};
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};

/// Reports the health of the bucket to clients that may write to it.
struct HealthOf {
    bucket: Resource,
}

#[tonic::async_trait]
impl Health for HealthOf {
    async fn check(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<HealthCheckResponse>, Status> {
        let client = request.extensions().get::<Principal>();
        let client = client.ok_or_else(|| Status::unauthenticated("unauthorized access"))?;
        let decision = client.check(Action::Write, &self.bucket);
        if !decision.is_allowed() {
            return Err(Status::permission_denied("insufficient permissions for write"));
        }
        let status = ServingStatus::Serving.into();
        let mut response = Response::new(HealthCheckResponse { status });
        if let Ok(decision) = MetadataValue::try_from(decision.to_string()) {
            response.metadata_mut().insert("decision", decision);
        }
        Ok(response)
    }

    type WatchStream = tokio_stream::Empty<Result<HealthCheckResponse, Status>>;

    async fn watch(
        &self,
        _: Request<HealthCheckRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        Err(Status::unimplemented("an example checks once"))
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

    let app = Router::new()
        .route_service("/grpc.health.v1.Health/{method}", HealthServer::new(HealthOf { bucket }))
        .layer(V1CredentialLayer::new(engine))
        .layer(ClientAddressLayer::new([]));

    let listener = tokio::net::TcpListener::bind("127.0.0.1:8088").await?;
    for name in ["telegraf", "grafana"] {
        println!(
            "curl -i -u {name}:{name}-password --http2-prior-knowledge \
             -H 'content-type: application/grpc' -H 'te: trailers' -o /dev/null -D - \
             --data-binary @<(printf '\\0\\0\\0\\0\\0') \
             http://127.0.0.1:8088/grpc.health.v1.Health/Check"
        );
    }
    let app = app.into_make_service_with_connect_info::<std::net::SocketAddr>();
    axum::serve(listener, app).await?;
    Ok(())
}
