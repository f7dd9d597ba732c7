//! Notifications: what users were told, in which words, and what they want to be told.

use std::collections::BTreeMap;

use redeliver::http::Problem;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use warp::http::StatusCode;
use warp::reply::Response;

use super::ask::{Ask, Ignored, Nothing};
use super::table::{Access, Answer, Table};
use super::{API, answer};
use crate::identity::Role;
use crate::identity::requests::UserById;
use crate::ids::UserId;
use crate::notification::administration::no_such_notification;
use crate::notification::{
    Channel, NotificationById, NotificationView, NotificationsOf, Occasion, Preferences,
    PreferencesOf, PreferencesView, PreviewTemplate, PreviewView, RewriteTemplate, SetPreferences,
    SwitchTemplate, Switches, TemplateById, TemplateText, TemplateView, TemplatesList,
    WriteTemplate,
};
use crate::page::Listing;

pub(super) fn routes(on: &mut Table) {
    on.get("/notifications", Access::SignedIn, list)
        .about("Lists what a user was told, newest first; the caller's own, or for an administrator anybody's.")
        .query("user_id", "Whose, for an administrator; `shop` is what the shop tells itself.")
        .pages()
        .answers::<Listing<NotificationView>>(StatusCode::OK)
        .refuses(StatusCode::NOT_FOUND, "There is no such user, or the caller may not know of them.");
    on.get("/notifications/{notification_id}", Access::SignedIn, one)
        .about("Shows a notification.")
        .answers::<NotificationView>(StatusCode::OK);
    on.get("/templates", Access::Only(Role::Admin), templates)
        .about("Lists the templates of notifications.")
        .pages()
        .answers::<Listing<TemplateView>>(StatusCode::OK);
    on.post("/templates", Access::Only(Role::Admin), write)
        .about("Writes a new template, which is sent once it is activated.")
        .takes::<TemplateAsked>()
        .answers::<TemplateView>(StatusCode::CREATED);
    on.get(
        "/templates/{template_id}",
        Access::Only(Role::Admin),
        template,
    )
    .about("Shows a template and the variables that it may use.")
    .versioned()
    .answers::<TemplateView>(StatusCode::OK);
    on.put(
        "/templates/{template_id}",
        Access::Only(Role::Admin),
        rewrite,
    )
    .about("Writes a template anew; what GET shows of it can be changed and sent back.")
    .takes::<TemplateRewritten>()
    .versioned()
    .answers::<TemplateView>(StatusCode::OK);
    on.post(
        "/templates/{template_id}/activate",
        Access::Only(Role::Admin),
        activate,
    )
    .about("Has a template sent from now on.")
    .may_take::<Nothing>()
    .versioned()
    .answers::<TemplateView>(StatusCode::OK);
    on.post(
        "/templates/{template_id}/deactivate",
        Access::Only(Role::Admin),
        deactivate,
    )
    .about("Has a template no longer sent.")
    .may_take::<Nothing>()
    .versioned()
    .answers::<TemplateView>(StatusCode::OK);
    on.post(
        "/templates/{template_id}/preview",
        Access::Only(Role::Admin),
        preview,
    )
    .about("Shows what a template would say; samples stand for variables that are left out.")
    .may_take::<PreviewAsked>()
    .answers::<PreviewView>(StatusCode::OK);
    on.get(
        "/users/{user_id}/notification-preferences",
        Access::SignedIn,
        preferences,
    )
    .about("Shows what a user is told of, by each channel.")
    .versioned()
    .answers::<PreferencesShown>(StatusCode::OK);
    on.put(
        "/users/{user_id}/notification-preferences",
        Access::SignedIn,
        prefer,
    )
    .about("Says what a user is told of; what is left out is as it is for everybody.")
    .takes::<PreferencesAsked>()
    .versioned()
    .answers::<PreferencesShown>(StatusCode::OK);
}

async fn list(ask: Ask) -> Answer {
    let page = ask.page()?;
    let asked = ask.parameter("user_id");
    let user_id = match asked.as_deref() {
        None => Some(ask.caller.user),
        // What the shop tells itself.
        Some("shop") if ask.caller.has(Role::Admin) => None,
        Some(text) => {
            let user = text.parse().map_err(|_| no_such_user())?;
            if !ask.caller.may_see(user, Role::Admin) {
                return Err(no_such_user());
            }
            Some(user)
        }
    };
    let query = NotificationsOf { user_id, page };
    ask.show_page(ask.query(ask.shop.notification(), query).await?)
}

async fn one(ask: Ask) -> Answer {
    let notification_id = ask.id()?;
    let query = NotificationById { notification_id };
    let told = ask.query(ask.shop.notification(), query).await?;
    let may_see = match told.user_id {
        Some(user) => ask.caller.may_see(user, Role::Admin),
        None => ask.caller.has(Role::Admin),
    };
    if !may_see {
        // In the very words of an id that nobody has.
        return Err(no_such_notification().into());
    }
    answer::ok(&told)
}

/// What somebody writes as a template.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct TemplateAsked {
    /// What people call it.
    name: String,
    /// What it tells of; a draft without one is never sent.
    event: Option<Occasion>,
    /// How it goes out.
    channel: Channel,
    /// Its subject.
    subject: String,
    /// Its body.
    body: String,
    /// Whether it is sent; not if not said.
    active: Option<bool>,
}

impl From<TemplateAsked> for TemplateText {
    fn from(asked: TemplateAsked) -> TemplateText {
        TemplateText {
            name: asked.name,
            event: asked.event,
            channel: asked.channel,
            subject: asked.subject,
            body: asked.body,
            active: asked.active,
        }
    }
}

/// A template written anew, as it was written or as GET shows it.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[allow(dead_code, reason = "what is ignored is not read")]
pub(super) struct TemplateRewritten {
    /// What people call it.
    name: String,
    /// What it tells of; a draft without one is never sent.
    event: Option<Occasion>,
    /// How it goes out.
    channel: Channel,
    /// Its subject.
    subject: String,
    /// Its body.
    body: String,
    /// Whether it is sent; as before if not said.
    active: Option<bool>,
    #[serde(default)]
    id: Ignored,
    #[serde(default)]
    version: Ignored,
    #[serde(default)]
    variables: Ignored,
}

impl From<TemplateRewritten> for TemplateText {
    fn from(asked: TemplateRewritten) -> TemplateText {
        TemplateText {
            name: asked.name,
            event: asked.event,
            channel: asked.channel,
            subject: asked.subject,
            body: asked.body,
            active: asked.active,
        }
    }
}

async fn templates(ask: Ask) -> Answer {
    let page = ask.page()?;
    let query = TemplatesList { page };
    ask.show_page(ask.query(ask.shop.notification(), query).await?)
}

async fn write(ask: Ask) -> Answer {
    let text: TemplateAsked = ask.json()?;
    let command = WriteTemplate { text: text.into() };
    let written = ask.send(ask.shop.notification(), command).await?;
    let location = format!("{API}/templates/{}", written.reply.id);
    let response = answer::answered(StatusCode::CREATED, &written)?;
    Ok(answer::with(
        tagged(response, written.reply.version),
        "location",
        &location,
    ))
}

async fn template(ask: Ask) -> Answer {
    let template_id = ask.id()?;
    let query = TemplateById { template_id };
    let template: TemplateView = ask.query(ask.shop.notification(), query).await?;
    Ok(tagged(answer::ok(&template)?, template.version))
}

async fn rewrite(ask: Ask) -> Answer {
    let template_id = ask.id()?;
    let text: TemplateRewritten = ask.json()?;
    let command = RewriteTemplate {
        template_id,
        if_version: ask.if_version()?,
        text: text.into(),
    };
    let written = ask.send(ask.shop.notification(), command).await?;
    let response = answer::answered(StatusCode::OK, &written)?;
    Ok(tagged(response, written.reply.version))
}

async fn activate(ask: Ask) -> Answer {
    switch(ask, true).await
}

async fn deactivate(ask: Ask) -> Answer {
    switch(ask, false).await
}

async fn switch(ask: Ask, active: bool) -> Answer {
    let template_id = ask.id()?;
    let Nothing {} = ask.json_or_nothing()?;
    let command = SwitchTemplate {
        template_id,
        if_version: ask.if_version()?,
        active,
    };
    let switched = ask.send(ask.shop.notification(), command).await?;
    let response = answer::answered(StatusCode::OK, &switched)?;
    Ok(tagged(response, switched.reply.version))
}

/// Values for a preview.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct PreviewAsked {
    /// Values by variable.
    #[serde(default)]
    variables: BTreeMap<String, String>,
}

async fn preview(ask: Ask) -> Answer {
    let template_id = ask.id()?;
    let PreviewAsked { variables } = ask.json_or_nothing()?;
    let query = PreviewTemplate {
        template_id,
        variables: variables.into_iter().collect(),
    };
    answer::ok(&ask.query(ask.shop.notification(), query).await?)
}

/// What a user wants to be told of. What is left out is as it is for everybody; what GET shows can
/// be changed and sent back.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[allow(dead_code, reason = "what is ignored is not read")]
pub(super) struct PreferencesAsked {
    /// By e-mail; on unless said otherwise.
    email: Option<SwitchesAsked>,
    /// By text message; off unless said otherwise.
    sms: Option<SwitchesAsked>,
    /// By push message; off unless said otherwise.
    push: Option<SwitchesAsked>,
    #[serde(default)]
    user_id: Ignored,
    #[serde(default)]
    version: Ignored,
}

/// What a user wants to be told of by one channel.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct SwitchesAsked {
    /// Orders: accepted, confirmed, cancelled.
    orders: Option<bool>,
    /// Parcels: on their way, arrived.
    shipping: Option<bool>,
    /// Money: taken, declined, paid back.
    payments: Option<bool>,
    /// The account: welcome, locked.
    account: Option<bool>,
}

impl SwitchesAsked {
    fn over(asked: Option<SwitchesAsked>, usual: Switches) -> Switches {
        let Some(asked) = asked else { return usual };
        Switches {
            orders: asked.orders.unwrap_or(usual.orders),
            shipping: asked.shipping.unwrap_or(usual.shipping),
            payments: asked.payments.unwrap_or(usual.payments),
            account: asked.account.unwrap_or(usual.account),
        }
    }
}

impl From<PreferencesAsked> for Preferences {
    fn from(asked: PreferencesAsked) -> Preferences {
        let usual = Preferences::default();
        Preferences {
            email: SwitchesAsked::over(asked.email, usual.email),
            sms: SwitchesAsked::over(asked.sms, usual.sms),
            push: SwitchesAsked::over(asked.push, usual.push),
        }
    }
}

/// What a user is told of.
#[derive(Serialize, ToSchema)]
pub(super) struct PreferencesShown {
    /// Who.
    user_id: UserId,
    /// By e-mail.
    email: Switches,
    /// By text message.
    sms: Switches,
    /// By push message.
    push: Switches,
    /// Counts the changes; 0 if there was none.
    version: u64,
}

impl From<PreferencesView> for PreferencesShown {
    fn from(view: PreferencesView) -> PreferencesShown {
        let Preferences { email, sms, push } = view.preferences;
        PreferencesShown {
            user_id: view.user_id,
            email,
            sms,
            push,
            version: view.version,
        }
    }
}

async fn preferences(ask: Ask) -> Answer {
    let user_id = whose(&ask).await?;
    let query = PreferencesOf { user_id };
    let view = ask.query(ask.shop.notification(), query).await?;
    let version = view.version;
    Ok(tagged(answer::ok(&PreferencesShown::from(view))?, version))
}

async fn prefer(ask: Ask) -> Answer {
    let user_id = whose(&ask).await?;
    let asked: PreferencesAsked = ask.json()?;
    let command = SetPreferences {
        user_id,
        if_version: ask.if_version()?,
        preferences: asked.into(),
    };
    let set = ask.send(ask.shop.notification(), command).await?;
    let (version, replayed) = (set.reply.version, set.replayed);
    let response = answer::ok(&PreferencesShown::from(set.reply))?;
    Ok(tagged(answer::replayed(response, replayed), version))
}

/// The user in the path, if there is one and the caller may know of them. Nothing is kept for
/// somebody whom no deletion will ever be heard of again.
async fn whose(ask: &Ask) -> Result<UserId, Problem> {
    let user_id = ask.id()?;
    if !ask.caller.may_see(user_id, Role::Admin) {
        return Err(no_such_user());
    }
    if user_id != ask.caller.user {
        ask.query(ask.shop.identity(), UserById { user_id }).await?;
    }
    Ok(user_id)
}

fn no_such_user() -> Problem {
    Problem::not_found("there is no such user; check the id")
}

fn tagged(response: Response, version: u64) -> Response {
    answer::with(response, "etag", &format!("\"{version}\""))
}
