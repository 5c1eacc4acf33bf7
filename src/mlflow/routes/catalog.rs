//! The catalogs: MCP servers and skills.

use crate::domain::Kind::McpServer as McpServers;
use crate::domain::Permission::{Edit, Manage, Read};

use super::At::Body as B;
use super::Base::Three;
use super::Need::{McpServer, Member, Named, Skill, Skills};
use super::{Body, List, Row, Version, delete, get, patch, post};

pub(super) const ROWS: &[Row] = &[
    get(Three, "mcp-servers", "mcp_server.list", &[Member])
        .list(List::McpServers)
        .since(Version(3, 15)),
    post(
        Three,
        "mcp-servers",
        "mcp_server.create",
        &[Named(McpServers, Edit, B("name"))],
    )
    .since(Version(3, 15)),
    get(Three, "mcp-servers/endpoints", "mcp_server.list_endpoints", &[Member])
        .list(List::McpEndpoints)
        .since(Version(3, 15)),
    get(
        Three,
        "mcp-servers/{namespace}/{slug}",
        "mcp_server.get",
        &[McpServer(Read)],
    )
    .since(Version(3, 15)),
    patch(
        Three,
        "mcp-servers/{namespace}/{slug}",
        "mcp_server.update",
        &[McpServer(Edit)],
    )
    .since(Version(3, 15)),
    delete(
        Three,
        "mcp-servers/{namespace}/{slug}",
        "mcp_server.delete",
        &[McpServer(Manage)],
    )
    .since(Version(3, 15)),
    post(
        Three,
        "mcp-servers/{namespace}/{slug}/aliases",
        "mcp_server.set_alias",
        &[McpServer(Edit)],
    )
    .since(Version(3, 15)),
    get(
        Three,
        "mcp-servers/{namespace}/{slug}/aliases/{alias}",
        "mcp_server.get_alias",
        &[McpServer(Read)],
    )
    .since(Version(3, 15)),
    delete(
        Three,
        "mcp-servers/{namespace}/{slug}/aliases/{alias}",
        "mcp_server.delete_alias",
        &[McpServer(Edit)],
    )
    .since(Version(3, 15)),
    get(
        Three,
        "mcp-servers/{namespace}/{slug}/endpoints",
        "mcp_server.list_endpoints",
        &[McpServer(Read)],
    )
    .since(Version(3, 15)),
    post(
        Three,
        "mcp-servers/{namespace}/{slug}/endpoints",
        "mcp_server.create_endpoint",
        &[McpServer(Edit)],
    )
    .since(Version(3, 15)),
    get(
        Three,
        "mcp-servers/{namespace}/{slug}/endpoints/{endpoint_id}",
        "mcp_server.get_endpoint",
        &[McpServer(Read)],
    )
    .since(Version(3, 15)),
    patch(
        Three,
        "mcp-servers/{namespace}/{slug}/endpoints/{endpoint_id}",
        "mcp_server.update_endpoint",
        &[McpServer(Edit)],
    )
    .since(Version(3, 15)),
    delete(
        Three,
        "mcp-servers/{namespace}/{slug}/endpoints/{endpoint_id}",
        "mcp_server.delete_endpoint",
        &[McpServer(Manage)],
    )
    .since(Version(3, 15)),
    post(
        Three,
        "mcp-servers/{namespace}/{slug}/tags",
        "mcp_server.set_tag",
        &[McpServer(Edit)],
    )
    .since(Version(3, 15)),
    delete(
        Three,
        "mcp-servers/{namespace}/{slug}/tags/{key}",
        "mcp_server.delete_tag",
        &[McpServer(Edit)],
    )
    .since(Version(3, 15)),
    get(
        Three,
        "mcp-servers/{namespace}/{slug}/versions",
        "mcp_server_version.list",
        &[McpServer(Read)],
    )
    .since(Version(3, 15)),
    post(
        Three,
        "mcp-servers/{namespace}/{slug}/versions",
        "mcp_server_version.create",
        &[McpServer(Edit)],
    )
    .since(Version(3, 15)),
    get(
        Three,
        "mcp-servers/{namespace}/{slug}/versions/{version}",
        "mcp_server_version.get",
        &[McpServer(Read)],
    )
    .since(Version(3, 15)),
    patch(
        Three,
        "mcp-servers/{namespace}/{slug}/versions/{version}",
        "mcp_server_version.update",
        &[McpServer(Edit)],
    )
    .since(Version(3, 15)),
    delete(
        Three,
        "mcp-servers/{namespace}/{slug}/versions/{version}",
        "mcp_server_version.delete",
        &[McpServer(Manage)],
    )
    .since(Version(3, 15)),
    post(
        Three,
        "mcp-servers/{namespace}/{slug}/versions/{version}/tags",
        "mcp_server_version.set_tag",
        &[McpServer(Edit)],
    )
    .since(Version(3, 15)),
    delete(
        Three,
        "mcp-servers/{namespace}/{slug}/versions/{version}/tags/{key}",
        "mcp_server_version.delete_tag",
        &[McpServer(Edit)],
    )
    .since(Version(3, 15)),
    get(Three, "skills", "skill.list", &[Member])
        .list(List::Skills)
        .since(Version(3, 18)),
    post(Three, "skills", "skill.create", &[Skills(Edit)]).since(Version(3, 18)),
    post(Three, "skills/bulk-register", "skill.register", &[Skills(Edit)]).since(Version(3, 18)),
    get(Three, "skills/@{organization}/{name}", "skill.get", &[Skill(Read)]).since(Version(3, 18)),
    patch(Three, "skills/@{organization}/{name}", "skill.update", &[Skill(Edit)]).since(Version(3, 18)),
    delete(Three, "skills/@{organization}/{name}", "skill.delete", &[Skill(Manage)]).since(Version(3, 18)),
    post(
        Three,
        "skills/@{organization}/{name}/aliases",
        "skill.set_alias",
        &[Skill(Edit)],
    )
    .since(Version(3, 18)),
    get(
        Three,
        "skills/@{organization}/{name}/aliases/{alias}",
        "skill.get_alias",
        &[Skill(Read)],
    )
    .since(Version(3, 18)),
    delete(
        Three,
        "skills/@{organization}/{name}/aliases/{alias}",
        "skill.delete_alias",
        &[Skill(Edit)],
    )
    .since(Version(3, 18)),
    post(
        Three,
        "skills/@{organization}/{name}/tags",
        "skill.set_tag",
        &[Skill(Edit)],
    )
    .since(Version(3, 18)),
    delete(
        Three,
        "skills/@{organization}/{name}/tags/{key}",
        "skill.delete_tag",
        &[Skill(Edit)],
    )
    .since(Version(3, 18)),
    get(
        Three,
        "skills/@{organization}/{name}/versions",
        "skill_version.list",
        &[Skill(Read)],
    )
    .since(Version(3, 18)),
    post(
        Three,
        "skills/@{organization}/{name}/versions",
        "skill_version.create",
        &[Skill(Edit)],
    )
    .with(Body::Stream)
    .since(Version(3, 18)),
    get(
        Three,
        "skills/@{organization}/{name}/versions/{version}",
        "skill_version.get",
        &[Skill(Read)],
    )
    .since(Version(3, 18)),
    patch(
        Three,
        "skills/@{organization}/{name}/versions/{version}",
        "skill_version.update",
        &[Skill(Edit)],
    )
    .since(Version(3, 18)),
    delete(
        Three,
        "skills/@{organization}/{name}/versions/{version}",
        "skill_version.delete",
        &[Skill(Manage)],
    )
    .since(Version(3, 18)),
    post(
        Three,
        "skills/@{organization}/{name}/versions/{version}/tags",
        "skill_version.set_tag",
        &[Skill(Edit)],
    )
    .since(Version(3, 18)),
    delete(
        Three,
        "skills/@{organization}/{name}/versions/{version}/tags/{key}",
        "skill_version.delete_tag",
        &[Skill(Edit)],
    )
    .since(Version(3, 18)),
    get(Three, "skills/{name}", "skill.get", &[Skill(Read)]).since(Version(3, 18)),
    patch(Three, "skills/{name}", "skill.update", &[Skill(Edit)]).since(Version(3, 18)),
    delete(Three, "skills/{name}", "skill.delete", &[Skill(Manage)]).since(Version(3, 18)),
    post(Three, "skills/{name}/aliases", "skill.set_alias", &[Skill(Edit)]).since(Version(3, 18)),
    get(
        Three,
        "skills/{name}/aliases/{alias}",
        "skill.get_alias",
        &[Skill(Read)],
    )
    .since(Version(3, 18)),
    delete(
        Three,
        "skills/{name}/aliases/{alias}",
        "skill.delete_alias",
        &[Skill(Edit)],
    )
    .since(Version(3, 18)),
    post(Three, "skills/{name}/tags", "skill.set_tag", &[Skill(Edit)]).since(Version(3, 18)),
    delete(Three, "skills/{name}/tags/{key}", "skill.delete_tag", &[Skill(Edit)]).since(Version(3, 18)),
    get(Three, "skills/{name}/versions", "skill_version.list", &[Skill(Read)]).since(Version(3, 18)),
    post(Three, "skills/{name}/versions", "skill_version.create", &[Skill(Edit)])
        .with(Body::Stream)
        .since(Version(3, 18)),
    get(
        Three,
        "skills/{name}/versions/{version}",
        "skill_version.get",
        &[Skill(Read)],
    )
    .since(Version(3, 18)),
    patch(
        Three,
        "skills/{name}/versions/{version}",
        "skill_version.update",
        &[Skill(Edit)],
    )
    .since(Version(3, 18)),
    delete(
        Three,
        "skills/{name}/versions/{version}",
        "skill_version.delete",
        &[Skill(Manage)],
    )
    .since(Version(3, 18)),
    post(
        Three,
        "skills/{name}/versions/{version}/tags",
        "skill_version.set_tag",
        &[Skill(Edit)],
    )
    .since(Version(3, 18)),
    delete(
        Three,
        "skills/{name}/versions/{version}/tags/{key}",
        "skill_version.delete_tag",
        &[Skill(Edit)],
    )
    .since(Version(3, 18)),
];
