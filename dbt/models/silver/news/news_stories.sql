with

articles as (
    select * from {{ ref('stg_ph_news__articles') }}
),

addressed_articles as (
    select
        article_id,
        {{ normalised_url('article_url') }} as normalised_url,
        {{ url_site('article_url') }} as source_site,
        outlet,
        category,
        title,
        author,
        article_url,
        published_at,
        first_seen_at,
        last_seen_at,
    from articles
    where not is_deleted
),

-- The row that was seen first speaks for the story; what only an import has was there before.
first_articles as (
    select
        normalised_url,
        source_site,
        outlet,
        category,
        title,
        author,
        article_url,
    from addressed_articles
    where true
    qualify
        row_number() over (
            partition by normalised_url order by first_seen_at nulls first, article_id
        ) = 1
),

stories as (
    select
        normalised_url,
        count(*) as article_count,
        count(distinct outlet) as outlet_count,
        count(distinct category) as category_count,
        min(published_at) as published_at,
        min(first_seen_at) as first_seen_at,
        max(last_seen_at) as last_seen_at,
    from addressed_articles
    group by normalised_url
),

judged_stories as (
    select
        normalised_url,
        {{ beyond_calendar('ph_news', 'published_at') }} as uncounted_reason,
        article_count,
        outlet_count,
        category_count,
        published_at,
        first_seen_at,
        last_seen_at,
    from stories
),

final as (
    select
        judged_stories.normalised_url,

        first_articles.source_site,
        first_articles.outlet,
        coalesce(first_articles.category, 'unknown') as category,
        first_articles.title,
        first_articles.author,
        first_articles.article_url,
        judged_stories.uncounted_reason,

        judged_stories.article_count,
        judged_stories.outlet_count,
        judged_stories.category_count,
        timestamp_diff(
            judged_stories.last_seen_at, judged_stories.first_seen_at, second
        ) / 3600 as listed_hours,

        date(judged_stories.published_at, 'Asia/Manila') as published_date_manila,
        extract(hour from judged_stories.published_at at time zone 'Asia/Manila')
            as published_hour_manila,
        judged_stories.published_at,
        judged_stories.first_seen_at,
        judged_stories.last_seen_at,
    from judged_stories
    inner join first_articles on judged_stories.normalised_url = first_articles.normalised_url
)

select * from final
